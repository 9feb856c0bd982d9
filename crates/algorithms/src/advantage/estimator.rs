//! From the rewards of a batch to each answer's advantage.

use serde::{Deserialize, Serialize};

use super::group::{EPSILON, is_flat, mean, sample_std};
use super::whiten::moments;

/// How an answer's reward is measured.
///
/// `R` is an answer's reward, `G` the size of its group, and a group whose rewards are all equal has nothing to compare.
///
/// | Variant                 | Advantage                                                              | Source                                   |
/// |-------------------------|------------------------------------------------------------------------|------------------------------------------|
/// | [`GroupStd`]            | `(R - mean) / (std + 1e-4)`, the group's sample std                      | DeepSeekMath, arXiv:2402.03300; TRL's `group` |
/// | [`GroupPopulationStd`]  | `(R - mean) / (std + 1e-6)`, the std of the group as a population        | ART                                      |
/// | [`BatchStd`]            | `(R - mean) / (std + 1e-4)`, the std of all rewards of the batch         | TRL's `batch`                            |
/// | [`Centred`]             | `R - mean`                                                               | Dr. GRPO, arXiv:2503.20783               |
/// | [`LeaveOneOut`]         | `R` less the mean of the others: `(R - mean) G / (G - 1)`                | RLOO, arXiv:2402.14740                   |
/// | [`ReinforcePp`]         | `R`, then whitened over the batch's tokens                               | REINFORCE++, arXiv:2501.03262            |
/// | [`ReinforcePpBaseline`] | `R - mean`, then whitened over the batch's tokens                        | the same, with a baseline                |
/// | [`Best`]                | 1 for the best of the group, 0 for the others                            | RAFT, arXiv:2304.06767                   |
///
/// Whitened means less the mean and divided by `sqrt(var + 1e-8)`, where an answer counts once for each of its tokens. An advantage is one
/// for the whole answer; what other parties said between its tokens neither gets nor interrupts it (as in
/// verl 0.9; before, a tool's answer zeroed the return of every turn before it).
///
/// [`GroupStd`]: Self::GroupStd
/// [`GroupPopulationStd`]: Self::GroupPopulationStd
/// [`BatchStd`]: Self::BatchStd
/// [`Centred`]: Self::Centred
/// [`LeaveOneOut`]: Self::LeaveOneOut
/// [`ReinforcePp`]: Self::ReinforcePp
/// [`ReinforcePpBaseline`]: Self::ReinforcePpBaseline
/// [`Best`]: Self::Best
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advantage {
    /// Against the group, in its standard deviations: every group speaks equally loud.
    #[default]
    GroupStd,
    /// The same, the group being all there is.
    GroupPopulationStd,
    /// Against the group, in the batch's standard deviations.
    BatchStd,
    /// Against the group. Dividing favours groups that are nearly all right or nearly all wrong; this does not.
    Centred,
    /// Against the other answers of the group.
    LeaveOneOut,
    /// Against the batch.
    ReinforcePp,
    /// Against the group, in the spread of the batch.
    ReinforcePpBaseline,
    /// All or nothing: the best are imitated.
    Best,
}

/// What an advantage is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// What it earned.
    pub reward: f64,
    /// How many tokens of it were sampled.
    pub tokens: usize,
}

impl Advantage {
    /// Every one of them.
    pub const ALL: [Self; 8] = [
        Self::GroupStd,
        Self::GroupPopulationStd,
        Self::BatchStd,
        Self::Centred,
        Self::LeaveOneOut,
        Self::ReinforcePp,
        Self::ReinforcePpBaseline,
        Self::Best,
    ];

    /// Whether answers are measured against their group, so that a group whose rewards are all equal teaches nothing.
    #[must_use]
    pub fn is_relative(self) -> bool {
        self != Self::ReinforcePp
    }

    /// The advantage of every answer of a batch, group by group.
    ///
    /// A reward that is not finite makes advantages not finite, of its group at least.
    #[must_use]
    pub fn estimate(self, groups: &[Vec<Answer>]) -> Vec<Vec<f64>> {
        let rewards: Vec<Vec<f64>> = groups.iter().map(|group| group.iter().map(|it| it.reward).collect()).collect();
        let within =
            |divisor: &dyn Fn(&[f64]) -> f64| rewards.iter().map(|group| centred(group, divisor(group))).collect();
        match self {
            Self::GroupStd => within(&|group| sample_std(group) + EPSILON),
            Self::GroupPopulationStd => {
                within(&|group| sample_std(group) * (1.0 - 1.0 / group.len() as f64).sqrt() + 1e-6)
            }
            Self::BatchStd => {
                let spread = sample_std(&rewards.concat()) + EPSILON;
                within(&|_| spread)
            }
            Self::Centred => within(&|_| 1.0),
            Self::LeaveOneOut => within(&|group| 1.0 - 1.0 / group.len() as f64),
            Self::Best => rewards.iter().map(|group| best(group)).collect(),
            Self::ReinforcePp => whitened(rewards, groups),
            Self::ReinforcePpBaseline => whitened(within(&|_| 1.0), groups),
        }
    }
}

/// Distances from the group's mean, in units of `divisor`.
fn centred(rewards: &[f64], divisor: f64) -> Vec<f64> {
    // Decided by comparison, not by the std: the mean of equal numbers may be off by one rounding, and 1e-17 / 1e-4 is not 0.
    if is_flat(rewards) {
        return vec![0.0; rewards.len()];
    }
    let mean = mean(rewards);
    rewards.iter().map(|reward| (reward - mean) / divisor).collect()
}

fn best(rewards: &[f64]) -> Vec<f64> {
    let highest = rewards.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let taken = |reward: &f64| !is_flat(rewards) && *reward == highest;
    rewards.iter().map(|reward| f64::from(u8::from(taken(reward)))).collect()
}

/// With mean 0 and variance 1 over all sampled tokens.
fn whitened(values: Vec<Vec<f64>>, groups: &[Vec<Answer>]) -> Vec<Vec<f64>> {
    let tokens = groups.iter().flatten().map(|answer| answer.tokens as f64);
    let (mean, spread) = moments(values.iter().flatten().copied().zip(tokens));
    values.iter().map(|group| group.iter().map(|value| (value - mean) / spread).collect()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(groups: &[&[f64]]) -> Vec<Vec<Answer>> {
        let answer = |reward: &f64| Answer { reward: *reward, tokens: 3 };
        groups.iter().map(|group| group.iter().map(answer).collect()).collect()
    }

    /// Of the groups [1, 0, 0, 1] and [2, 2, 2, 2].
    fn assert_right(advantage: Advantage, right: f64) {
        let found = advantage.estimate(&batch(&[&[1.0, 0.0, 0.0, 1.0], &[2.0; 4]]));
        for (found, expected) in found[0].iter().zip([right, -right, -right, right]) {
            assert!((found - expected).abs() < 5e-7, "{advantage:?}: {found} is not {expected}");
        }
        assert_eq!(found[1], [0.0; 4]);
    }

    #[test]
    fn two_of_four_right_answers() {
        // mean .5, squares sum to 1: sample std sqrt(1/3) = .577350, population std .5; all eight rewards have std .886405.
        assert_right(Advantage::GroupStd, 0.865875);
        assert_right(Advantage::GroupPopulationStd, 0.999998);
        assert_right(Advantage::BatchStd, 0.564012);
        assert_right(Advantage::Centred, 0.5);
        assert_right(Advantage::LeaveOneOut, 0.666667);
    }

    #[test]
    fn the_best_of_a_group_are_imitated_unless_all_are_alike() {
        let found = Advantage::Best.estimate(&batch(&[&[1.0, 0.0, 1.0], &[2.0; 2]]));
        assert_eq!(found, [vec![1.0, 0.0, 1.0], vec![0.0; 2]]);
    }

    #[test]
    fn whitened_advantages_have_mean_0_and_variance_1_over_tokens() {
        let answer = |reward, tokens| Answer { reward, tokens };
        let groups = [vec![answer(1.0, 1), answer(0.0, 3)], vec![answer(1.0, 2), answer(1.0, 2)]];
        for advantage in [Advantage::ReinforcePp, Advantage::ReinforcePpBaseline] {
            let found = advantage.estimate(&groups);
            let tokens = || found.iter().flatten().zip(groups.iter().flatten()).map(|(a, it)| (*a, it.tokens as f64));
            let mean: f64 = tokens().map(|(a, n)| a * n).sum();
            let squares: f64 = tokens().map(|(a, n)| a * a * n).sum();
            assert!(mean.abs() < 1e-9 && (squares / 7.0 - 1.0).abs() < 1e-6, "{advantage:?}: {found:?}");
        }
        assert!(
            Advantage::ReinforcePp.estimate(&groups)[1][0] > 0.0,
            "all right is good, if measured against the batch"
        );
    }

    #[test]
    fn a_group_of_one_and_an_empty_group_have_nothing_to_compare() {
        for advantage in Advantage::ALL.into_iter().filter(|it| it.is_relative()) {
            assert_eq!(advantage.estimate(&batch(&[&[3.0], &[]])), [vec![0.0], vec![]], "{advantage:?}");
        }
    }

    proptest! {
        #[test]
        fn equal_rewards_teach_exactly_nothing_if_measured_against_each_other(reward in -1e3..1e3f64, members in 1..17usize) {
            for advantage in Advantage::ALL.into_iter().filter(|it| it.is_relative()) {
                let found = advantage.estimate(&batch(&[&vec![reward; members]]));
                prop_assert_eq!(&found[0], &vec![0.0; members], "{:?}", advantage);
            }
        }

        #[test]
        fn a_common_bonus_changes_nothing(
            left in prop::collection::vec(-1.0..1.0f64, 2..9), right in prop::collection::vec(-1.0..1.0f64, 2..9),
            bonus in -5.0..5.0f64,
        ) {
            let raised = |rewards: &[f64]| rewards.iter().map(|reward| reward + bonus).collect::<Vec<_>>();
            for advantage in Advantage::ALL {
                let plain = advantage.estimate(&batch(&[&left, &right])).concat();
                let after = advantage.estimate(&batch(&[&raised(&left), &raised(&right)])).concat();
                for (a, b) in plain.iter().zip(after) {
                    prop_assert!((a - b).abs() < 1e-7 * a.abs().max(1.0), "{:?}: {} {}", advantage, a, b);
                }
            }
        }
    }
}
