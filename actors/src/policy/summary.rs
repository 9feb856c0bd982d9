//! Some episodes in a few numbers.

use stateset_domain::Trajectory;

/// What a set of finished episodes amounts to. Nothing has no mean: of no episodes, those are NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// How many there are.
    pub episodes: u64,
    /// Mean reward.
    pub reward_mean: f64,
    /// Sample standard deviation of the rewards; 0 for one.
    pub reward_std: f64,
    /// Share in which every check passed.
    pub success_rate: f64,
    /// Tokens, sampled or given.
    pub tokens: u64,
}

impl Summary {
    /// The numbers of `episodes`.
    pub fn of<'a>(episodes: impl IntoIterator<Item = &'a Trajectory>) -> Self {
        let episodes: Vec<_> = episodes.into_iter().collect();
        let rewards: Vec<f64> = episodes.iter().filter_map(|episode| episode.reward).map(f64::from).collect();
        let reward_mean = mean(rewards.iter().copied(), rewards.len());
        let spread = rewards.iter().map(|reward| (reward - reward_mean).powi(2));
        let successes = episodes.iter().map(|episode| f64::from(u8::from(episode.succeeded())));
        Self {
            episodes: episodes.len() as u64,
            reward_mean,
            reward_std: if rewards.len() == 1 { 0.0 } else { mean(spread, rewards.len().saturating_sub(1)).sqrt() },
            success_rate: mean(successes, episodes.len()),
            tokens: episodes.iter().map(|episode| episode.tokens.len() as u64).sum(),
        }
    }
}

fn mean(values: impl Iterator<Item = f64>, count: usize) -> f64 {
    if count == 0 { f64::NAN } else { values.sum::<f64>() / count as f64 }
}

#[cfg(test)]
mod tests {
    use stateset_domain::{EpisodeId, GroupId, Outcome, Purpose};

    use super::*;

    fn episode(reward: f32, success: bool) -> Trajectory {
        let group = GroupId { purpose: Purpose::Train, step: 1, index: 0 };
        let outcome = Outcome::Completed { success };
        Trajectory { reward: Some(reward), outcome, ..Trajectory::new(EpisodeId { group, member: 0 }, "s") }
    }

    #[test]
    fn rewards_have_their_mean_and_sample_deviation() {
        // Mean (0 + 1 + 2) / 3 = 1; variance (1 + 0 + 1) / 2 = 1.
        let summary = Summary::of(&[episode(0.0, false), episode(1.0, true), episode(2.0, true)]);
        assert_eq!((summary.reward_mean, summary.reward_std, summary.success_rate), (1.0, 1.0, 2.0 / 3.0));
    }

    #[test]
    fn nothing_has_no_mean_and_one_has_no_deviation() {
        let nothing = Summary::of(&[]);
        assert_eq!((nothing.episodes, nothing.tokens), (0, 0));
        assert!([nothing.reward_mean, nothing.reward_std, nothing.success_rate].iter().all(|it| it.is_nan()));
        assert_eq!(Summary::of(&[episode(0.5, true)]).reward_std, 0.0);
    }
}
