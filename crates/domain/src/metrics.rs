//! What one optimizer step measured.

use serde::{Deserialize, Deserializer, Serialize};

use crate::PolicyVersion;

/// What the learner measured in one step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StepReport {
    /// The minimised objective.
    #[serde(deserialize_with = "or_nan")]
    pub loss: f64,
    /// Mean k3 estimate of KL(policy, reference) over sampled tokens, nats; without a KL term, over the tokens of one
    /// micro-batch.
    #[serde(deserialize_with = "or_nan")]
    pub kl: f64,
    /// Share of sampled tokens whose ratio was clipped against their advantage.
    #[serde(deserialize_with = "or_nan")]
    pub clip_fraction: f64,
    /// Mean entropy of the sampled positions, nats.
    #[serde(deserialize_with = "or_nan")]
    pub entropy: f64,
    /// Global L2 norm of the gradient before clipping.
    #[serde(deserialize_with = "or_nan")]
    pub grad_norm: f64,
    /// Learning rate of the step; of a natural step, the part of it that was taken.
    pub lr: f64,
    /// Largest |sampler - trainer| log-probability over tokens that are not stale, nats.
    #[serde(deserialize_with = "or_nan")]
    pub log_prob_gap: f64,
    /// Share of groups whose rewards were all equal, and which therefore taught nothing.
    pub frac_zero_std_groups: f64,
    /// Mean of how many versions older than the learner the policy was that sampled a token; 0 in a synchronous run.
    #[serde(default)]
    pub staleness_mean: f64,
    /// The largest of them.
    #[serde(default)]
    pub staleness_max: u64,
    /// Tokens of episodes with credit that were too stale to count, or that the policy had left too far behind.
    #[serde(default)]
    pub tokens_dropped: u64,
    /// Stale tokens that counted in part.
    #[serde(default)]
    pub tokens_down_weighted: u64,
    /// The critic's loss; `None` without a critic.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "or_nothing")]
    pub value_loss: Option<f64>,
    /// The share of the returns' variance that the critic's values had explained before the step.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "or_nothing")]
    pub explained_variance: Option<f64>,
    /// The weight of the KL term or of the penalty in this step, where it is adapted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl_coef: Option<f64>,
    /// What a nat of entropy earned in this step, where that is adapted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy_coef: Option<f64>,
    /// Tokens that went through the trainer's forward pass.
    pub train_tokens: u64,
    /// The step taught nothing: its loss or gradient was not finite, or a health rule took it back.
    pub skipped: bool,
}

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// The optimizer step, from 1.
    pub step: u64,
    /// The version this step produced.
    pub policy_version: PolicyVersion,
    /// Mean reward of the step's episodes.
    #[serde(deserialize_with = "or_nan")]
    pub reward_mean: f64,
    /// Sample standard deviation of the rewards.
    #[serde(deserialize_with = "or_nan")]
    pub reward_std: f64,
    /// Share of episodes in which every check passed.
    #[serde(deserialize_with = "or_nan")]
    pub success_rate: f64,
    /// Episodes that could not be finished and were left out.
    pub episodes_failed: u64,
    /// Tokens of the step's conversations, sampled or given.
    pub rollout_tokens: u64,
    /// Seconds from the first admission to the last scored episode.
    pub rollout_seconds: f64,
    /// Seconds of the optimizer step.
    pub train_seconds: f64,
    /// What the learner measured.
    #[serde(flatten)]
    pub learner: StepReport,
}

/// JSON has no NaN and no infinity: both are written as `null`, and read back as NaN.
fn or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// A value that is there, though it may be no number.
fn or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    or_nan(deserializer).map(Some)
}
