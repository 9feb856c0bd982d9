//! Ending a run that has stopped getting better.

use serde::{Deserialize, Serialize};

/// When that is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EarlyStopping {
    /// Evaluations in a row that do not improve. At least 1.
    pub patience: u64,
    /// What counts as an improvement of held-out success is more than this.
    pub min_delta: f64,
}

/// The best evaluation so far, and how many have come since.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Progressing {
    best: Option<(u64, f64)>,
    since: u64,
}

impl Progressing {
    /// Takes an evaluation in. Says why the run should end, if it should.
    pub(super) fn look(&mut self, limits: &EarlyStopping, step: u64, success_rate: f64) -> Option<String> {
        match self.best {
            Some((at, best)) if success_rate <= best + limits.min_delta => {
                self.since += 1;
                (self.since >= limits.patience).then(|| {
                    let (now, best) = (100.0 * success_rate, 100.0 * best);
                    format!("held-out success is {now:.1} %, no better than the {best:.1} % of step {at} for {} evaluations", self.since)
                })
            }
            Some(_) | None => {
                (self.best, self.since) = (Some((step, success_rate)), 0);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_when_it_has_not_improved_for_as_long_as_its_patience() {
        let limits = EarlyStopping { patience: 2, min_delta: 0.01 };
        let mut progressing = Progressing::default();
        let found: Vec<bool> = [0.2, 0.3, 0.31, 0.35, 0.2, 0.36]
            .into_iter()
            .enumerate()
            .map(|(step, rate)| progressing.look(&limits, step as u64, rate).is_some())
            .collect();
        assert_eq!(found, [false, false, false, false, false, true]);
    }

    #[test]
    fn the_reason_names_what_was_not_beaten() {
        let limits = EarlyStopping { patience: 1, min_delta: 0.0 };
        let mut progressing = Progressing::default();
        progressing.look(&limits, 10, 0.5);
        let reason = progressing.look(&limits, 20, 0.25).unwrap();
        assert_eq!(reason, "held-out success is 25.0 %, no better than the 50.0 % of step 10 for 1 evaluations");
    }
}
