//! Credit: an answer's reward against its group's, and a token's return against what a critic had expected.

/// What an answer's distance from the mean of its group is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// Reward.
    Centred,
    /// The group's sample standard deviation, plus 1e-4.
    GroupStd,
    /// The standard deviation of the group as a population, plus 1e-6.
    GroupPopulationStd,
    /// Reward, against the mean of the others: `G / (G - 1)` as far.
    LeaveOneOut,
}

impl Baseline {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Centred, Self::GroupStd, Self::GroupPopulationStd, Self::LeaveOneOut];
}

/// The advantage of every answer of one group: `(R - mean) / divisor`, and 0 if all rewards are equal.
#[must_use]
pub fn group_advantages(rewards: &[f64], baseline: Baseline) -> Vec<f64> {
    if rewards.windows(2).all(|pair| pair[0] == pair[1]) {
        return vec![0.0; rewards.len()];
    }
    let n = rewards.len() as f64;
    let mean = rewards.iter().sum::<f64>() / n;
    let squares: f64 = rewards.iter().map(|reward| (reward - mean).powi(2)).sum();
    let divisor = match baseline {
        Baseline::Centred => 1.0,
        Baseline::GroupStd => (squares / (n - 1.0)).sqrt() + 1e-4,
        Baseline::GroupPopulationStd => (squares / n).sqrt() + 1e-6,
        Baseline::LeaveOneOut => 1.0 - 1.0 / n,
    };
    rewards.iter().map(|reward| (reward - mean) / divisor).collect()
}

/// Generalised advantage estimation (arXiv:1506.02438) over the tokens of one sequence: `A_t = delta_t + gamma lambda A_next` with
/// `delta_t = reward_t + gamma V_next - V_t`, where next is the next token whose `mask` is true. Other tokens get 0, and are not read.
#[must_use]
pub fn gae(rewards: &[f64], values: &[f64], mask: &[bool], (gamma, lambda): (f64, f64)) -> Vec<f64> {
    let mut advantages = vec![0.0; rewards.len()];
    let (mut next, mut last) = (0.0, 0.0);
    for t in (0..rewards.len()).rev().filter(|t| mask[*t]) {
        last = rewards[t] + gamma * next - values[t] + gamma * lambda * last;
        next = values[t];
        advantages[t] = last;
    }
    advantages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_four_right_answers() {
        // mean 1/4, squares 9/16 + 3/16 = 3/4: sample std 1/2, population std sqrt(3)/4
        let best = |baseline| group_advantages(&[0.0, 1.0, 0.0, 0.0], baseline)[1];
        assert_eq!(best(Baseline::Centred), 0.75);
        assert_eq!(best(Baseline::LeaveOneOut), 1.0);
        assert!((best(Baseline::GroupStd) - 0.75 / 0.5001).abs() < 1e-12);
        assert!((best(Baseline::GroupPopulationStd) - 0.75 / (3f64.sqrt() / 4.0 + 1e-6)).abs() < 1e-12);
    }

    #[test]
    fn equal_rewards_have_nothing_to_compare() {
        for baseline in Baseline::ALL {
            assert_eq!(group_advantages(&[0.1; 7], baseline), [0.0; 7]);
            assert_eq!(group_advantages(&[3.0], baseline), [0.0]);
        }
    }

    #[test]
    fn credit_passes_over_what_others_said() {
        // last: 1 - .5 = .5; first: .5 x .5 - .25 + .5 x .5 x .5 = .125
        let found = gae(&[0.0, f64::NAN, 1.0], &[0.25, f64::NAN, 0.5], &[true, false, true], (0.5, 0.5));
        assert_eq!(found, [0.125, 0.0, 0.5]);
    }
}
