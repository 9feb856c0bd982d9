//! From what the episodes of a batch earned to the credit of each of their tokens.
//!
//! ```text
//! R = the episode's reward - what its tokens are charged         compared with its group, one advantage for all tokens
//! ```
//!
//! A token is charged for its distance from the reference where that counts in the reward ([`KlIn::Reward`]), as in RLOO and
//! REINFORCE++. A comparison has room for one number of each episode, so there it is the sum of the charges; REINFORCE++ compares nothing,
//! and each token is credited with what it still had ahead of it: the episode's reward less the charges from there on.

use crate::advantage::{return_to_go, whiten};
use crate::{Advantage, Answer, Grpo, KlIn};

/// What an episode earned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Earned<'a> {
    /// Its reward.
    pub reward: f64,
    /// What each of its sampled tokens is charged.
    pub charges: &'a [f64],
}

impl Grpo {
    /// Whether distance from the reference is charged to the reward.
    #[must_use]
    pub fn charges(&self) -> bool {
        self.kl_in == KlIn::Reward && self.kl_coef > 0.0
    }

    /// What a token is charged that the policy and the reference find so likely.
    #[must_use]
    pub fn charge(&self, new: f64, reference: f64) -> f64 {
        if self.charges() { self.kl_coef * self.kl.value(new, reference) } else { 0.0 }
    }

    /// The advantage of each token of a batch's episodes, group by group.
    ///
    /// A reward that is not finite makes advantages not finite, of its group at least.
    #[must_use]
    pub fn credit(&self, groups: &[Vec<Earned<'_>>]) -> Vec<Vec<Vec<f64>>> {
        if self.advantage == Advantage::ReinforcePp && self.charges() {
            return by_token(groups);
        }
        let answer = |it: &Earned<'_>| Answer { reward: it.reward - total(it.charges), tokens: it.charges.len() };
        let answers: Vec<Vec<Answer>> = groups.iter().map(|group| group.iter().map(answer).collect()).collect();
        let spread = |(it, advantage): (&Earned<'_>, f64)| vec![advantage; it.charges.len()];
        let advantages = self.advantage.estimate(&answers);
        groups.iter().zip(advantages).map(|(group, found)| group.iter().zip(found).map(spread).collect()).collect()
    }
}

/// What each token still had ahead of it, whitened over the batch's tokens.
fn by_token(groups: &[Vec<Earned<'_>>]) -> Vec<Vec<Vec<f64>>> {
    let ahead = |it: &Earned<'_>| {
        let mut rewards: Vec<f64> = it.charges.iter().map(|charge| -charge).collect();
        rewards.last_mut().into_iter().for_each(|last| *last += it.reward);
        return_to_go(&rewards, 1.0)
    };
    let mut returns: Vec<Vec<f64>> = groups.iter().flatten().map(ahead).collect();
    whiten(&mut returns);
    let mut returns = returns.into_iter();
    groups.iter().map(|group| returns.by_ref().take(group.len()).collect()).collect()
}

/// 0 exactly, and not -0, if there are none.
fn total(charges: &[f64]) -> f64 {
    charges.iter().fold(0.0, |sum, charge| sum + charge)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::KlEstimator;

    fn charging(advantage: Advantage) -> Grpo {
        Grpo { advantage, kl_coef: 0.5, kl_in: KlIn::Reward, kl: KlEstimator::K1, ..Grpo::default() }
    }

    fn assert_near(found: &[f64], expected: &[f64]) {
        let apart = found.iter().zip(expected).any(|(found, expected)| (found - expected).abs() > 1e-9);
        assert!(!apart && found.len() == expected.len(), "{found:?} is not {expected:?}");
    }

    #[test]
    fn a_charge_is_the_coefficient_times_the_estimate_and_only_where_the_reward_pays() {
        assert_eq!(charging(Advantage::LeaveOneOut).charge(-1.0, -1.5), 0.25);
        assert_eq!(Grpo { kl_in: KlIn::Loss, ..charging(Advantage::LeaveOneOut) }.charge(-1.0, -1.5), 0.0);
        assert_eq!(Grpo { kl_coef: 0.0, ..charging(Advantage::LeaveOneOut) }.charge(-1.0, -1.5), 0.0);
    }

    #[test]
    fn an_episode_is_compared_by_what_is_left_of_its_reward() {
        let group =
            vec![Earned { reward: 1.0, charges: &[0.1, 0.2, 0.1] }, Earned { reward: 0.5, charges: &[0.0, -0.1] }];
        // 0.6 and 0.6: what the first was worth more it has paid for
        let found = charging(Advantage::LeaveOneOut).credit(std::slice::from_ref(&group));
        assert_near(&found[0].concat(), &[0.0; 5]);
        let free = group.iter().map(|it| Earned { charges: &[0.0; 2], ..*it }).collect();
        assert_near(&charging(Advantage::LeaveOneOut).credit(&[free])[0].concat(), &[0.5, 0.5, -0.5, -0.5]);
    }

    #[test]
    fn reinforce_pp_charges_each_token_from_where_it_stands() {
        let groups =
            [vec![Earned { reward: 1.0, charges: &[0.5, 0.25] }], vec![Earned { reward: 0.0, charges: &[0.0; 2] }]];
        // Ahead of the four tokens lie 0.25 0.75 0 0: mean 0.25, sample variance (0 + 0.25 + 2 x 0.0625) / 3
        let spread = (0.375f64 / 3.0 + 1e-8).sqrt();
        let found = charging(Advantage::ReinforcePp).credit(&groups).concat().concat();
        assert_near(&found, &[0.0, 0.5 / spread, -0.25 / spread, -0.25 / spread]);
    }

    proptest! {
        #[test]
        fn without_charges_every_token_shares_its_episodes_advantage(
            group in prop::collection::vec((-1.0..1.0f64, 0..4usize), 1..6),
        ) {
            let zeros = [0.0; 4];
            let earned: Vec<_> =
                group.iter().map(|(reward, tokens)| Earned { reward: *reward, charges: &zeros[..*tokens] }).collect();
            let answers: Vec<_> = group.iter().map(|(reward, tokens)| Answer { reward: *reward, tokens: *tokens }).collect();
            for advantage in Advantage::ALL {
                let grpo = Grpo { advantage, ..Grpo::default() };
                let expected = advantage.estimate(std::slice::from_ref(&answers)).remove(0);
                let found = grpo.credit(std::slice::from_ref(&earned)).remove(0);
                for ((found, expected), (_, tokens)) in found.iter().zip(&expected).zip(&group) {
                    prop_assert_eq!(found, &vec![*expected; *tokens]);
                }
            }
        }

        #[test]
        fn a_bonus_for_everyone_changes_no_comparison(
            group in prop::collection::vec((-1.0..1.0f64, -0.5..0.5f64), 2..6), bonus in -5.0..5.0f64,
        ) {
            let credit = |bonus: f64, advantage| {
                let charges: Vec<[f64; 2]> = group.iter().map(|(_, charge)| [*charge, 0.1]).collect();
                let earned = group.iter().zip(&charges);
                let earned = earned.map(|((reward, _), charges)| Earned { reward: reward + bonus, charges }).collect();
                charging(advantage).credit(&[earned]).concat().concat()
            };
            for advantage in Advantage::ALL {
                for (a, b) in credit(0.0, advantage).iter().zip(credit(bonus, advantage)) {
                    // Charges at two tokens of the same episode are apart, but a bonus is ahead of both.
                    prop_assert!((a - b).abs() < 1e-6 * a.abs().max(1.0), "{:?}: {} {}", advantage, a, b);
                }
            }
        }
    }
}
