//! The standard reward: part for the whole episode, part for each turn.

use serde::{Deserialize, Serialize};
use stateset_domain::{Outcome, RewardTerm, Trajectory};

use crate::{Reward, RewardError, Score};

/// `success_weight * success + turn_weight * mean(turn rewards)`.
///
/// Success alone is a faint signal while it is rare; turns alone do not care whether the last one is right too.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EpisodeReward {
    /// What success is worth.
    pub success_weight: f32,
    /// What turns are worth, all together.
    pub turn_weight: f32,
}

impl Default for EpisodeReward {
    fn default() -> Self {
        Self { success_weight: 0.5, turn_weight: 0.5 }
    }
}

impl Reward for EpisodeReward {
    fn score(&self, trajectory: &Trajectory) -> Result<Score, RewardError> {
        let success = if completed(trajectory)? { 1.0 } else { 0.0 };
        let turns = &trajectory.turn_rewards;
        if turns.is_empty() {
            return Err(RewardError(format!("episode of {} has no turn rewards", trajectory.scenario)));
        }
        let mean = turns.iter().sum::<f32>() / turns.len() as f32;
        let total = self.success_weight * success + self.turn_weight * mean;
        let term = |weight, value| RewardTerm { weight, value };
        let terms = vec![term(self.success_weight, success), term(self.turn_weight, mean)];
        Ok(Score { total, terms, parts: vec![("success".into(), success), ("turns".into(), mean)] })
    }
}

/// Whether a finished episode succeeded; an unfinished one has no reward.
pub(crate) fn completed(trajectory: &Trajectory) -> Result<bool, RewardError> {
    match &trajectory.outcome {
        Outcome::Completed { success } => Ok(*success),
        Outcome::Failed(kind) => {
            Err(RewardError(format!("episode of {} was not finished: {kind}", trajectory.scenario)))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use stateset_domain::{EpisodeId, FailureKind, GroupId, Purpose};

    use super::*;

    pub(crate) fn trajectory(turn_rewards: &[f32], outcome: Outcome) -> Trajectory {
        let group = GroupId { purpose: Purpose::Train, step: 0, index: 0 };
        let episode = EpisodeId { group, member: 0 };
        Trajectory { turn_rewards: turn_rewards.into(), outcome, ..Trajectory::new(episode, "s") }
    }

    #[test]
    fn success_and_the_mean_of_the_turns_are_weighed() {
        let reward = EpisodeReward { success_weight: 0.5, turn_weight: 0.25 };
        let failed = reward.score(&trajectory(&[1.0, 0.0], Outcome::Completed { success: false })).unwrap();
        // 0.5 * 0 + 0.25 * (1 + 0) / 2
        assert_eq!(failed.total, 0.125);
        assert_eq!(failed.parts, [("success".into(), 0.0), ("turns".into(), 0.5)]);
        assert_eq!(failed.terms.iter().map(|term| term.weight * term.value).sum::<f32>(), failed.total);
        let passed = EpisodeReward::default().score(&trajectory(&[1.0], Outcome::Completed { success: true })).unwrap();
        assert_eq!(passed.total, 1.0);
    }

    #[test]
    fn an_unfinished_episode_has_no_score() {
        let lost = trajectory(&[1.0], Outcome::Failed(FailureKind::Abandoned));
        let error = EpisodeReward::default().score(&lost).unwrap_err();
        assert_eq!(error.to_string(), "reward: episode of s was not finished: conversation was lost");
    }
}
