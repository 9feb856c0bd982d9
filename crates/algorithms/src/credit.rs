//! From what the episodes of a batch earned to the credit of each of their tokens.
//!
//! ```text
//! reward                                                         as judged, less the punishment for length, if any
//! R   = reward - charges of all its tokens                       an episode, compared with its group
//! r_j = turn_weight x the turn's reward - charges of its tokens  a turn; the last one also has the episode's reward
//! R_j = r_j + gamma R_(j+1)                                      compared with the turns at the same place in its group
//! ```
//!
//! Tokens that were compared as one share the advantage. Of episodes, that hands every turn the credit of the whole; of turns, each has the
//! credit of what came of it.
//!
//! A token is charged for its distance from the reference where that counts in the reward ([`KlIn::Reward`]), as in RLOO and
//! REINFORCE++. A comparison has room for one number of each episode, so there it is the sum of the charges; REINFORCE++ compares nothing,
//! and each token is credited with what it still had ahead of it: the episode's reward less the charges from there on.

use serde::{Deserialize, Serialize};

use crate::advantage::{measure_apart, return_to_go, whiten};
use crate::{Advantage, Answer, Grpo, KlIn, Turn};

/// What is compared, and shares an advantage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreditFor {
    /// All tokens of an episode.
    #[default]
    Episode,
    /// The tokens of a turn.
    Turns,
}

/// What of several rewards is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rewards {
    /// Their weighted sum.
    #[default]
    Summed,
    /// Each by itself against its group; then their weighted sum against the batch: GDPO (arXiv:2601.05242).
    Apart,
}

/// What an episode earned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Earned<'a> {
    /// Its reward.
    pub reward: f64,
    /// What that is the weighted sum of, weights first; only [`Rewards::Apart`] looks at them.
    pub terms: &'a [(f64, f64)],
    /// Its turns, in order; together they hold every sampled token.
    pub turns: &'a [Turn],
    /// What each of its sampled tokens is charged; empty if it is only compared with, and nothing is learned from it.
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
        match self.credit {
            CreditFor::Episode if self.advantage == Advantage::ReinforcePp && self.charges() => self.by_token(groups),
            CreditFor::Episode if self.rewards == Rewards::Apart => self.by_reward(groups),
            CreditFor::Episode => self.by_episode(groups),
            CreditFor::Turns => self.by_turn(groups),
        }
    }

    fn by_episode(&self, groups: &[Vec<Earned<'_>>]) -> Vec<Vec<Vec<f64>>> {
        let answer = |it: &Earned<'_>| Answer { reward: self.shaped(it) - total(it.charges), tokens: it.charges.len() };
        let answers: Vec<Vec<Answer>> = groups.iter().map(|group| group.iter().map(answer).collect()).collect();
        let spread = |(it, advantage): (&Earned<'_>, f64)| vec![advantage; it.charges.len()];
        let advantages = self.advantage.estimate(&answers);
        groups.iter().zip(advantages).map(|(group, found)| group.iter().zip(found).map(spread).collect()).collect()
    }

    /// Each of an episode's rewards by itself, charges and the punishment for length among them.
    fn by_reward(&self, groups: &[Vec<Earned<'_>>]) -> Vec<Vec<Vec<f64>>> {
        let rewards = |it: &Earned<'_>| -> Vec<f64> {
            let own = it.terms.iter().map(|(_, value)| *value);
            own.chain([self.for_length(it), -total(it.charges)]).collect()
        };
        let answers: Vec<Vec<Vec<f64>>> = groups.iter().map(|group| group.iter().map(rewards).collect()).collect();
        let weights = groups.iter().flatten().next().map_or(&[][..], |it| it.terms).iter().map(|(weight, _)| *weight);
        let found = measure_apart(&answers, &weights.chain([1.0, 1.0]).collect::<Vec<_>>());
        let spread = |(it, advantage): (&Earned<'_>, f64)| vec![advantage; it.charges.len()];
        groups.iter().zip(found).map(|(group, found)| group.iter().zip(found).map(spread).collect()).collect()
    }

    fn by_turn(&self, groups: &[Vec<Earned<'_>>]) -> Vec<Vec<Vec<f64>>> {
        let answers = |it: &Earned<'_>| -> Vec<Answer> {
            let turns = self.returns(it).into_iter().zip(it.turns);
            turns.map(|(reward, turn)| Answer { reward, tokens: turn.tokens.len().min(it.charges.len()) }).collect()
        };
        let answers: Vec<Vec<_>> = groups.iter().map(|group| group.iter().map(answers).collect()).collect();
        let spread = |(it, advantages): (&Earned<'_>, Vec<f64>)| {
            let mut credit = vec![0.0; it.charges.len()];
            for (turn, own) in it.turns.iter().zip(advantages) {
                credit.get_mut(turn.tokens.clone()).into_iter().for_each(|tokens| tokens.fill(own));
            }
            credit
        };
        let found = self.advantage.estimate_turns(&answers);
        groups.iter().zip(found).map(|(group, found)| group.iter().zip(found).map(spread).collect()).collect()
    }

    /// What each token still had ahead of it, whitened over the batch's tokens.
    fn by_token(&self, groups: &[Vec<Earned<'_>>]) -> Vec<Vec<Vec<f64>>> {
        let ahead = |it: &Earned<'_>| {
            let mut rewards: Vec<f64> = it.charges.iter().map(|charge| -charge).collect();
            rewards.last_mut().into_iter().for_each(|last| *last += self.shaped(it));
            return_to_go(&rewards, 1.0)
        };
        let mut returns: Vec<Vec<f64>> = groups.iter().flatten().map(ahead).collect();
        whiten(&mut returns);
        let mut returns = returns.into_iter();
        groups.iter().map(|group| returns.by_ref().take(group.len()).collect()).collect()
    }

    /// An episode's reward, length considered.
    fn shaped(&self, it: &Earned<'_>) -> f64 {
        it.reward + self.for_length(it)
    }

    /// What an episode earns for its length: nothing, or less.
    fn for_length(&self, it: &Earned<'_>) -> f64 {
        let tokens = it.turns.last().map_or(0, |turn| turn.tokens.end);
        self.overlong().map_or(0.0, |overlong| overlong.earns(tokens))
    }

    /// What came of each turn of an episode.
    fn returns(&self, it: &Earned<'_>) -> Vec<f64> {
        let charged = |turn: &Turn| it.charges.get(turn.tokens.clone()).map_or(0.0, total);
        let earned = |turn: &Turn| self.turn_weight * turn.reward - charged(turn);
        let mut rewards: Vec<f64> = it.turns.iter().map(earned).collect();
        rewards.last_mut().into_iter().for_each(|last| *last += self.shaped(it));
        return_to_go(&rewards, self.gamma)
    }
}

/// 0 exactly, and not -0, if there are none.
fn total(charges: &[f64]) -> f64 {
    charges.iter().fold(0.0, |sum, charge| sum + charge)
}

#[cfg(test)]
mod tests;
