//! What fault-free runs came to, and what is therefore to be expected of another one.

use std::path::Path;

use anyhow::{Result, bail};

use crate::report::statistics::{interval, mean, student, variance};
use crate::run_folder::RunFolder;
use crate::runtime::read_result;

/// What a fault-free run came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Calm {
    /// Share of held-out episodes that succeeded, sampled.
    pub(crate) success: f64,
    /// How many there were.
    pub(crate) episodes: u64,
}

impl Calm {
    /// Reads the finished run at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let files = RunFolder::inspect(path)?;
        let summary = read_result(&files)?;
        let Some(trained) = summary.trained else { bail!("{} has not been finished", path.display()) };
        if files.faults().exists() {
            bail!("{} is no fault-free run: it has a faults.yaml", path.display());
        }
        Ok(Self { success: trained.success_rate, episodes: trained.episodes })
    }
}

/// Where the success of one more run lies, 95 times in 100, if it is a run like `calm`; `None` without any.
///
/// One run's rate is known as well as its episodes tell it, which is Wilson's interval. Of several runs their spread is known, too: the
/// interval is then Student's for one more draw, `mean ± t s sqrt(1 + 1/k)`, and at least Wilson's, for runs that happen to agree have no
/// spread and still an error.
pub(crate) fn expected(calm: &[Calm]) -> Option<(f64, f64)> {
    let first = calm.first()?;
    let runs = calm.len() as f64;
    let rates: Vec<f64> = calm.iter().map(|run| run.success).collect();
    let mean = mean(&rates);
    let (low, high) = interval(mean, calm.iter().map(|run| run.episodes).min().unwrap_or(first.episodes));
    let Some(t) = calm.len().checked_sub(1).filter(|freedom| *freedom > 0).map(student) else {
        return Some((low, high));
    };
    let reach = t * (variance(&rates) * (1.0 + 1.0 / runs)).sqrt();
    Some((low.min(mean - reach).max(0.0), high.max(mean + reach).min(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm(rates: &[f64]) -> Vec<Calm> {
        rates.iter().map(|success| Calm { success: *success, episodes: 256 }).collect()
    }

    #[test]
    fn one_run_has_wilsons_interval() {
        let (low, high) = expected(&calm(&[0.8])).unwrap();
        assert!((low - 0.747).abs() < 2e-3 && (high - 0.844).abs() < 2e-3, "{low} {high}");
        assert_eq!(expected(&[]), None);
    }

    #[test]
    fn several_runs_have_students_interval_for_one_more() {
        // mean .8, s = .1, k = 3: reach 4.303 * .1 * sqrt(4/3) = .4969.
        let (low, high) = expected(&calm(&[0.7, 0.8, 0.9])).unwrap();
        assert!((low - 0.3031).abs() < 1e-3, "{low}");
        assert_eq!(high, 1.0);
    }

    #[test]
    fn runs_that_agree_by_chance_are_not_taken_for_certain() {
        let (low, high) = expected(&calm(&[1.0, 1.0, 1.0])).unwrap();
        assert!(low > 0.98 && low < 0.99 && high == 1.0, "{low} {high}");
    }
}
