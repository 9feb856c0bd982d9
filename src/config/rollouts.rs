//! What a run's file may say about who samples while the learner learns.

use serde::{Deserialize, Serialize};

use super::Training;

/// Whether episodes are sampled while the learner takes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rollouts {
    /// No: every round is sampled by the very policy that learns from it, and the result is a function of the seed.
    #[default]
    Synchronous,
    /// Yes: the rounds of the next steps are under way meanwhile, and which version sampled a token depends on timing.
    Asynchronous,
}

impl Training {
    /// How many versions older than the learner a token may be when it is learned from.
    #[must_use]
    pub fn staleness_bound(&self) -> u64 {
        match self.rollouts {
            Rollouts::Synchronous => 0,
            Rollouts::Asynchronous => self.max_staleness,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synchronous_run_has_no_stale_tokens_whatever_the_bound() {
        let training = Training { max_staleness: 7, ..Training::default() };
        assert_eq!(training.staleness_bound(), 0);
        assert_eq!(Training { rollouts: Rollouts::Asynchronous, ..training }.staleness_bound(), 7);
    }
}
