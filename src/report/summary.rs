//! `summary.json`: a run's result in a dozen numbers.

use serde::{Deserialize, Serialize};
use stateset_actors::policy::HealthStatus;
use stateset_domain::Digest;

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Seed of the run.
    pub seed: u64,
    /// Optimizer steps taken.
    pub steps: u64,
    /// Why it ended: `completed`, `interrupted`, or `stopped: ` and why.
    pub reason: String,
    /// Seconds it took, all its sessions together.
    pub wall_seconds: f64,
    /// The policy before training, on held-out scenarios; `null` if the run was made without evaluations.
    pub base: Option<Measure>,
    /// The policy after training, on the same scenarios; `null` if the run has not come that far.
    #[serde(rename = "final")]
    pub trained: Option<Measure>,
    /// Digest of the final weights.
    pub policy_digest: Digest,
    /// How often a part of the runtime was restarted.
    pub restarts: u64,
    /// Training episodes that were finished, judged and learned from.
    pub episodes_completed: u64,
    /// Training episodes that were given up on.
    pub episodes_failed: u64,
    /// Training episodes that were started and met neither end.
    pub episodes_lost: u64,
    /// Training episodes that were counted twice.
    pub episodes_duplicated: u64,
    /// How it was doing at the last step.
    pub health: HealthStatus,
}

/// How good a policy is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Held-out episodes, played once sampled and once greedily.
    pub episodes: u64,
    /// Share of the sampled ones in which every check passed.
    pub success_rate: f64,
    /// Share of the greedy ones in which every check passed.
    pub success_rate_greedy: f64,
    /// Mean reward of the sampled ones.
    pub reward_mean: f64,
}
