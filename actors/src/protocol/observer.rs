//! What a run tells whoever composed it.

use serde::{Deserialize, Serialize};
use stateset_domain::{Digest, EpisodeCounts, Purpose, StepMetrics, Trajectory};

/// Follows a run. Called by the learner, in the order in which things happen; a slow observer slows the run.
pub trait Observer: Send + Sync {
    /// The run begins at `step`, or goes back to it: whatever was recorded of later steps is void, and will be told again.
    fn on_restored(&self, step: u64);

    /// A step was taken.
    fn on_step(&self, metrics: &StepMetrics);

    /// The success rate that the evaluation of `step` for `purpose` found, if one was recorded, perhaps by an earlier incarnation; it
    /// need not be made again.
    fn evaluation(&self, step: u64, purpose: Purpose) -> Option<f64>;

    /// The policy was evaluated.
    fn on_evaluation(&self, evaluation: &Evaluation);

    /// The run is over; nothing more will be said.
    fn on_finished(&self, finished: &RunFinished);
}

/// How the policy did on the held-out kit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Optimizer steps taken before it.
    pub at_step: u64,
    /// Whether it was sampled or greedy.
    pub purpose: Purpose,
    /// Episodes finished.
    pub episodes: u64,
    /// Episodes that could not be finished, and are left out.
    pub failed: u64,
    /// Share of finished episodes in which every check passed.
    pub success_rate: f64,
    /// Mean reward.
    pub reward_mean: f64,
    /// Sample standard deviation of the rewards.
    #[serde(default)]
    pub reward_std: f64,
    /// The first few episodes, by scenario.
    pub samples: Vec<Trajectory>,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// Every step was taken.
    Completed,
    /// It was asked to.
    Interrupted,
    /// A health rule said so.
    Stopped,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFinished {
    /// Optimizer steps taken.
    pub step: u64,
    /// Why it ended.
    pub reason: FinishReason,
    /// The same in words: `completed`, `interrupted`, or `stopped: ` and why.
    pub said: String,
    /// What became of the training episodes.
    pub episodes: EpisodeCounts,
    /// Digest of the final weights.
    pub policy_digest: Digest,
    /// Why the final state is not on disk, if it is not.
    pub unsaved: Option<String>,
}
