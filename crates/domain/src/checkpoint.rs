//! Everything a run needs to go on from where it was.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// How many episodes met which end. Only training episodes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EpisodeCounts {
    /// Started, each counted once however often it was attempted.
    pub started: u64,
    /// Finished, judged and handed to the learner.
    pub completed: u64,
    /// Given up on after every attempt failed.
    pub failed: u64,
    /// Accepted more than once.
    pub duplicated: u64,
}

impl EpisodeCounts {
    /// Started and neither completed nor failed.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.started - self.completed - self.failed
    }
}

impl AddAssign for EpisodeCounts {
    fn add_assign(&mut self, more: Self) {
        self.started += more.started;
        self.completed += more.completed;
        self.failed += more.failed;
        self.duplicated += more.duplicated;
    }
}

/// Where a run stands. Every random stream and every scenario is a function of the seed and these numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Seed of the run.
    pub seed: u64,
    /// Optimizer steps taken.
    pub step: u64,
    /// What became of the training episodes so far.
    pub episodes: EpisodeCounts,
    /// Digest of the weights.
    pub policy_digest: Digest,
    /// Whether no acting health rule had anything against the policy when this was written: what a rewind may go back to.
    #[serde(default = "yes")]
    pub healthy: bool,
}

fn yes() -> bool {
    true
}

/// One file of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// File name, no directories.
    pub name: String,
    /// Contents.
    pub bytes: Vec<u8>,
}

/// A consistent state of a run between two optimizer steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Where the run stands.
    pub progress: Progress,
    /// The learner's files: weights, optimizer, tokenizer, config.
    pub artifacts: Vec<Artifact>,
}
