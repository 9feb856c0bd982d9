//! Group-relative advantages.
//!
//! Each prompt is answered `G` times; an answer's credit is its reward measured against its siblings, so no value network is needed.
//!
//! | Variant         | Centre | Scale                         | Source                              |
//! |-----------------|--------|-------------------------------|-------------------------------------|
//! | [`Scale::Std`]  | mean   | sample std (ddof 1) + `1e-4`  | DeepSeekMath, arXiv:2402.03300 §4.1 |
//! | [`Scale::None`] | mean   | 1                             | Dr. GRPO, arXiv:2503.20783          |
//!
//! The paper leaves the kind of standard deviation open. This is the one of TRL (`scale_rewards=group`); verl adds `1e-6` instead,
//! and ART divides by the population's.

use serde::{Deserialize, Serialize};

/// Keeps the division finite; small against any reward difference that matters.
const EPSILON: f64 = 1e-4;

/// By what a reward's distance from its group's mean is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// The group's standard deviation: every group speaks equally loud.
    #[default]
    Std,
    /// Nothing. Dividing favours groups that are nearly all right or nearly all wrong; this does not.
    None,
}

/// The advantage of each member of one group, in order, from the members' rewards.
///
/// A group whose rewards are all equal, so also a group of one, has nothing to compare: its advantages are exactly 0. A reward that is
/// not finite makes the whole group's advantages not finite.
#[must_use]
pub fn group_relative(rewards: &[f64], scale: Scale) -> Vec<f64> {
    // Decided by comparison, not by the std: the mean of equal numbers may be off by one rounding, and 1e-17 / 1e-4 is not 0.
    if is_flat(rewards) {
        return vec![0.0; rewards.len()];
    }
    let count = rewards.len() as f64;
    let mean = rewards.iter().sum::<f64>() / count;
    let divisor = match scale {
        Scale::Std => {
            let squares: f64 = rewards.iter().map(|reward| (reward - mean).powi(2)).sum();
            (squares / (count - 1.0)).sqrt() + EPSILON
        }
        Scale::None => 1.0,
    };
    rewards.iter().map(|reward| (reward - mean) / divisor).collect()
}

/// Whether all rewards of a group are equal, so that it teaches nothing.
#[must_use]
pub fn is_flat(rewards: &[f64]) -> bool {
    rewards.windows(2).all(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_of_four_right_answers_are_worth_one_sample_std() {
        // mean .5, squares sum to 1, std = sqrt(1/3) = .577350; .5 / (.577350 + .0001) = .865875
        let advantages = group_relative(&[1.0, 0.0, 0.0, 1.0], Scale::Std);
        for (advantage, expected) in advantages.iter().zip([0.865875, -0.865875, -0.865875, 0.865875]) {
            assert!((advantage - expected).abs() < 5e-7, "{advantage} is not {expected}");
        }
    }

    #[test]
    fn unscaled_advantages_are_distances_from_the_mean() {
        assert_eq!(group_relative(&[1.0, 0.0, 0.0, 1.0], Scale::None), [0.5, -0.5, -0.5, 0.5]);
    }

    #[test]
    fn a_group_of_one_and_an_empty_group_have_nothing_to_compare() {
        for scale in [Scale::Std, Scale::None] {
            assert_eq!(group_relative(&[3.0], scale), [0.0]);
            assert!(group_relative(&[], scale).is_empty());
        }
    }

    proptest! {
        #[test]
        fn equal_rewards_give_exactly_nothing(reward in -1e3..1e3f64, members in 1..17usize) {
            for scale in [Scale::Std, Scale::None] {
                prop_assert_eq!(group_relative(&vec![reward; members], scale), vec![0.0; members]);
            }
        }

        #[test]
        fn advantages_sum_to_zero_and_ignore_a_common_bonus(
            rewards in prop::collection::vec(-1.0..1.0f64, 2..17), bonus in -5.0..5.0f64,
        ) {
            for scale in [Scale::Std, Scale::None] {
                let plain = group_relative(&rewards, scale);
                let raised: Vec<f64> = rewards.iter().map(|reward| reward + bonus).collect();
                prop_assert!(plain.iter().sum::<f64>().abs() < 1e-9);
                for (a, b) in plain.iter().zip(group_relative(&raised, scale)) {
                    prop_assert!((a - b).abs() < 1e-8);
                }
            }
        }
    }
}
