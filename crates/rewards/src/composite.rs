//! Several rewards as one.

use std::sync::Arc;

use stateset_domain::{RewardTerm, Trajectory};

use crate::{Reward, RewardError, Score};

/// A weighted sum of named rewards. Its parts are the rewards' own totals, unweighted, each followed by that reward's parts.
#[derive(Clone, Default)]
pub struct Composite {
    terms: Vec<(String, f32, Arc<dyn Reward>)>,
}

impl Composite {
    /// A sum of nothing: 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more reward.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, weight: f32, reward: impl Reward + 'static) -> Self {
        self.terms.push((name.into(), weight, Arc::new(reward)));
        self
    }
}

impl Reward for Composite {
    fn score(&self, trajectory: &Trajectory) -> Result<Score, RewardError> {
        let mut sum = Score::default();
        for (name, weight, reward) in &self.terms {
            let score = reward.score(trajectory).map_err(|RewardError(why)| RewardError(format!("{name}: {why}")))?;
            sum.total += weight * score.total;
            sum.terms.push(RewardTerm { weight: *weight, value: score.total });
            sum.parts.push((name.clone(), score.total));
            sum.parts.extend(score.parts.into_iter().map(|(part, value)| (format!("{name}.{part}"), value)));
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use stateset_domain::Outcome;

    use super::*;
    use crate::episode::tests::trajectory;
    use crate::{EpisodeReward, FnReward};

    #[test]
    fn the_sum_is_weighted_and_its_breakdown_is_not() {
        let reward = Composite::new().with("episode", 2.0, EpisodeReward::default()).with(
            "brevity",
            -0.5,
            FnReward(|trajectory: &Trajectory| trajectory.messages.len() as f32 + 1.0),
        );
        let score = reward.score(&trajectory(&[1.0, 0.0], Outcome::Completed { success: false })).unwrap();
        // 2 * (0.5 * 0 + 0.5 * 0.5) - 0.5 * 1
        assert_eq!(score.total, 0.0);
        let parts = [("episode", 0.25), ("episode.success", 0.0), ("episode.turns", 0.5), ("brevity", 1.0)];
        assert_eq!(score.parts, parts.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn a_term_that_cannot_score_is_named() {
        let reward = Composite::new().with("odd", 1.0, FnReward(|_: &Trajectory| f32::INFINITY));
        let error = reward.score(&trajectory(&[1.0], Outcome::Completed { success: true })).unwrap_err();
        assert_eq!(error.to_string(), "reward: odd: episode of s was scored inf");
    }
}
