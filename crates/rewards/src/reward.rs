//! The contract of a reward.

use stateset_domain::{RewardTerm, Trajectory};
use thiserror::Error;

/// Scores finished episodes.
pub trait Reward: Send + Sync {
    /// The score of a finished episode.
    ///
    /// # Errors
    /// If it cannot be scored. An unscored episode is retried or recorded as failed; it is never scored 0.
    fn score(&self, trajectory: &Trajectory) -> Result<Score, RewardError>;
}

/// A score and what it is made of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Score {
    /// What the learner sees.
    pub total: f32,
    /// The rewards that it is the weighted sum of, for learners that measure each by itself; empty if it is one.
    pub terms: Vec<RewardTerm>,
    /// Named parts, for people.
    pub parts: Vec<(String, f32)>,
}

/// Why an episode could not be scored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("reward: {0}")]
pub struct RewardError(pub String);
