//! Several rewards, each measured by itself.
//!
//! Where rewards are summed and their sum is measured, a group in which one of them differs looks just like one in which two of them do:
//! whatever the spread, it becomes 1. GDPO (arXiv:2601.05242; TRL's `normalize_then_sum`) measures each reward against the group, sums that, and
//! then scales the batch:
//!
//! ```text
//! z_ik = (R_ik - mean of the group's R_k) / (std + 1e-4)
//! r_i  = sum over k of weight_k z_ik
//! A_i  = (r_i - mean of the batch's r) / (std + 1e-4)
//! ```
//!
//! both standard deviations being a sample's. A reward that is equal throughout its group adds nothing there.

use super::group::{EPSILON, is_flat, mean, sample_std};

/// The advantage of every answer of a batch, group by group, given its rewards, one for each of `weights`.
///
/// # Panics
/// If an answer has not as many rewards as there are weights.
#[must_use]
pub fn measure_apart(groups: &[Vec<Vec<f64>>], weights: &[f64]) -> Vec<Vec<f64>> {
    let sums: Vec<Vec<f64>> = groups.iter().map(|group| sum_of_measured(group, weights)).collect();
    let all = sums.concat();
    if is_flat(&all) {
        return sums.iter().map(|group| vec![0.0; group.len()]).collect();
    }
    let (mean, spread) = (mean(&all), sample_std(&all) + EPSILON);
    sums.iter().map(|group| group.iter().map(|sum| (sum - mean) / spread).collect()).collect()
}

fn sum_of_measured(group: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; group.len()];
    assert!(group.iter().all(|answer| answer.len() == weights.len()), "an answer has one reward for each weight");
    for (k, weight) in weights.iter().enumerate() {
        let rewards: Vec<f64> = group.iter().map(|answer| answer[k]).collect();
        // By comparison, for the mean of equal numbers may be off by one rounding.
        if is_flat(&rewards) {
            continue;
        }
        let (mean, spread) = (mean(&rewards), sample_std(&rewards) + EPSILON);
        sums.iter_mut().zip(rewards).for_each(|(sum, reward)| *sum += weight * (reward - mean) / spread);
    }
    sums
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_rewards_that_agree_count_for_more_than_one() {
        let groups = [vec![vec![0.0, 0.0], vec![0.0, 1.0]], vec![vec![0.0, 0.0], vec![1.0, 1.0]]];
        let found = measure_apart(&groups, &[1.0, 1.0]).concat();
        // z is -+.5 / .707207 = .707007: sums -+.707007 and -+1.414013, of sample std sqrt((2 x .5 + 2 x 2) / 3) = 1.290812.
        for (found, expected) in found.iter().zip([-0.547680, 0.547680, -1.095360, 1.095360]) {
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
    }

    #[test]
    fn rewards_that_are_equal_throughout_teach_nothing() {
        assert_eq!(measure_apart(&[vec![vec![0.1, 3.0]; 3], vec![]], &[1.0, 0.5]), [vec![0.0; 3], vec![]]);
    }

    proptest! {
        #[test]
        fn neither_a_bonus_nor_a_unit_of_a_reward_changes_what_it_teaches(
            group in prop::collection::vec((-1.0..1.0f64, prop::sample::select(vec![0.0, 1.0])), 2..8), bonus in -5.0..5.0f64,
        ) {
            let of = |bonus: f64, unit: f64| {
                let rewards = group.iter().map(|(a, b)| vec![a + bonus, unit * b]).collect();
                measure_apart(&[rewards], &[1.0, 0.5]).concat()
            };
            for (a, b) in of(0.0, 1.0).iter().zip(of(bonus, 1.0)) {
                prop_assert!((a - b).abs() < 1e-7 * a.abs().max(1.0));
            }
            // 1e-4 beside a standard deviation is not quite nothing.
            for (a, b) in of(0.0, 1.0).iter().zip(of(0.0, 100.0)) {
                prop_assert!((a - b).abs() < 2e-3 * a.abs().max(1.0));
            }
        }
    }
}
