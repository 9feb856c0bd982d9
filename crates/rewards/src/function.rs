//! A reward from a closure.

use stateset_domain::Trajectory;

use crate::episode::completed;
use crate::{Reward, RewardError, Score};

/// Scores finished episodes by a function of the trajectory.
#[derive(Debug, Clone, Copy)]
pub struct FnReward<F>(pub F);

impl<F: Fn(&Trajectory) -> f32 + Send + Sync> Reward for FnReward<F> {
    fn score(&self, trajectory: &Trajectory) -> Result<Score, RewardError> {
        completed(trajectory)?;
        let total = (self.0)(trajectory);
        if !total.is_finite() {
            return Err(RewardError(format!("episode of {} was scored {total}", trajectory.scenario)));
        }
        Ok(Score { total, ..Score::default() })
    }
}

#[cfg(test)]
mod tests {
    use stateset_domain::{FailureKind, Outcome};

    use super::*;
    use crate::episode::tests::trajectory;

    #[test]
    fn a_closure_scores_finished_episodes_only() {
        let turns = FnReward(|trajectory: &Trajectory| trajectory.turn_rewards.len() as f32);
        let finished = trajectory(&[0.0, 0.0], Outcome::Completed { success: false });
        assert_eq!(turns.score(&finished).unwrap().total, 2.0);
        assert!(turns.score(&trajectory(&[], Outcome::Failed(FailureKind::Abandoned))).is_err());
        assert!(FnReward(|_: &Trajectory| f32::NAN).score(&finished).is_err());
    }
}
