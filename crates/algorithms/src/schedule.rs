//! The learning rate's course: up in a straight line, then along a [`Decay`].
//!
//! A pure function of the step, so a resumed run needs no scheduler state. Steps count from 1, and no step of a run is wasted on a
//! rate of 0: the first step of a warm-up takes `1 / warmup_steps` (HF's schedulers start at 0), and the last step of a run still has
//! a little left.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How the learning rate moves after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// It stays.
    #[default]
    Constant,
    /// It falls in a straight line, to 0 just after the last step.
    Linear,
    /// It falls along half a cosine, to 0 just after the last step.
    Cosine,
}

/// The learning rate's course over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// What follows the warm-up: `constant` (default: rewards, not a horizon, say when a run is over), `linear` or `cosine`.
    pub kind: Decay,
    /// Optimizer steps over which the rate rises to its full value. 0 (default) starts there.
    pub warmup_steps: u64,
}

impl Schedule {
    /// Everything that is wrong with these settings in a run of `total` steps; empty if nothing is.
    #[must_use]
    pub fn validate(&self, total: u64) -> Vec<String> {
        if self.warmup_steps < total.max(1) {
            return Vec::new();
        }
        vec![format!("warmup_steps must be fewer than the run's {total} steps, but is {}", self.warmup_steps)]
    }

    /// What the learning rate is multiplied by at `step`, the first being 1, of `total`. In `[0, 1]`; past `total` a decaying schedule
    /// stays at 0.
    #[must_use]
    pub fn multiplier(&self, step: u64, total: u64) -> f64 {
        let warmup = self.warmup_steps;
        if step <= warmup {
            return step as f64 / warmup.max(1) as f64;
        }
        let span = total.saturating_sub(warmup).max(1) as f64;
        let progress = ((step - warmup - 1) as f64 / span).min(1.0);
        match self.kind {
            Decay::Constant => 1.0,
            Decay::Linear => 1.0 - progress,
            Decay::Cosine => 0.5 * (1.0 + (PI * progress).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_warm_up_must_end_before_the_run_does() {
        let schedule = Schedule { kind: Decay::Cosine, warmup_steps: 10 };
        assert!(schedule.validate(11).is_empty() && Schedule::default().validate(1).is_empty());
        assert_eq!(schedule.validate(10), ["warmup_steps must be fewer than the run's 10 steps, but is 10"]);
        assert!(serde_json::from_str::<Schedule>(r#"{"kind": "cosine", "warmup": 3}"#).is_err());
    }

    fn course(kind: Decay, warmup_steps: u64, total: u64) -> Vec<f64> {
        (1..=total).map(|step| Schedule { kind, warmup_steps }.multiplier(step, total)).collect()
    }

    #[test]
    fn constant_rises_once_and_stays() {
        assert_eq!(course(Decay::Constant, 4, 6), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn linear_falls_in_equal_steps_and_never_spends_one_at_zero() {
        assert_eq!(course(Decay::Linear, 1, 5), [1.0, 1.0, 0.75, 0.5, 0.25]);
    }

    #[test]
    fn cosine_is_halfway_down_at_half_time() {
        let course = course(Decay::Cosine, 0, 4);
        assert_eq!(course[0], 1.0);
        assert!((course[2] - 0.5).abs() < 1e-12);
    }

    #[test]
    fn a_decayed_rate_stays_at_zero_past_the_end() {
        for kind in [Decay::Linear, Decay::Cosine] {
            assert!(Schedule { kind, warmup_steps: 2 }.multiplier(100, 10).abs() < 1e-12);
        }
    }

    proptest! {
        #[test]
        fn every_step_of_a_run_has_a_rate_between_zero_and_one(total in 1..200u64, warmup_steps in 0..200u64) {
            for kind in [Decay::Constant, Decay::Linear, Decay::Cosine] {
                let course = course(kind, warmup_steps, total);
                prop_assert!(course.iter().all(|rate| *rate > 0.0 && *rate <= 1.0), "{:?} {:?}", kind, course);
            }
        }
    }
}
