//! What a critic is, and what its values make of rewards: credit for every token, and what its values should have been.
//!
//! ```text
//! reward_t  = - penalty_t  + turn_weight x the turn's reward, at its last token  + the episode's reward, at the very last
//! A_t       = generalised advantage estimation over tokens, or over turns        (see Gae)
//! return_t  = A_t + V_t
//! ```
//!
//! `V_t` is read where token `t` is chosen: from the state before it. Over turns, a turn is one decision: its value is that of its first
//! token, its reward the sum of what its tokens earned, and all its tokens share its advantage.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::advantage::{Gae, whiten};
use crate::{Algorithm, Section};

/// Where a critic's values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// A head on the policy's own states: one forward and backward pass for both.
    #[default]
    Trunk,
    /// A network of its own, which begins as the base policy.
    Separate,
}

/// What one decision is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A token.
    #[default]
    Tokens,
    /// A turn: everything the policy says until somebody else speaks.
    Turns,
}

/// The critic of `ppo`, `a2c` and `trpo`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Critic {
    /// Where its values come from: `trunk` (default), a head on the policy's states, or `separate`, a network of its own.
    pub network: Network,
    /// What credit is estimated for, one after the other: `tokens` (default) or `turns`.
    pub over: Unit,
    /// What a reward is worth one token (or turn) later. In `[0, 1]`; default 1: an answer is not worth less for being longer.
    pub gamma: f64,
    /// 0 trusts the critic after one token (or turn), 1 looks to the episode's end and trusts nobody. In `[0, 1]`; default 0.95.
    pub lambda: f64,
    /// After how many tokens (or turns) the critic is believed whatever `lambda` says. At least 1; default none.
    pub steps: Option<usize>,
    /// What the environment's reward of a turn counts, at the turn's end, beside the episode's reward at the very end. At least 0; default
    /// 0. Above it, `rewards.turn_weight: 0` keeps turns from being counted twice.
    pub turn_weight: f64,
    /// What the critic's loss, half its squared error, counts beside the policy's where both move the same trunk. At least 0; default 0.1,
    /// as in TRL (1 in `a2c`, which is what Stable-Baselines3 calls 0.5).
    pub coef: f64,
    /// How far a value may move in one step's updates before it is pushed no further. Above 0; default 0.2 in `ppo`, else none.
    pub clip: Option<f64>,
    /// Learning rate of a critic that learns apart from the policy (`separate`, and in `trpo`). Above 0, at most 1; default 1e-3.
    pub learning_rate: f64,
    /// Passes over each batch of a critic that learns after the policy (`trpo`). At least 1; default 5.
    pub passes: usize,
}

impl Default for Critic {
    fn default() -> Self {
        Self {
            network: Network::Trunk,
            over: Unit::Tokens,
            gamma: 1.0,
            lambda: 0.95,
            steps: None,
            turn_weight: 0.0,
            coef: 0.1,
            clip: None,
            learning_rate: 1e-3,
            passes: 5,
        }
    }
}

/// One turn of an episode: its tokens, by their place among those that were sampled, and what the environment gave for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Its sampled tokens.
    pub tokens: Range<usize>,
    /// The environment's reward.
    pub reward: f64,
}

/// An episode, with one entry per sampled token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Played<'a> {
    /// Its turns, in order; together they hold every sampled token.
    pub turns: &'a [Turn],
    /// The episode's reward.
    pub reward: f64,
    /// The critic's values.
    pub values: &'a [f64],
    /// What each token is charged, such as a share of its distance from a reference.
    pub penalties: &'a [f64],
}

/// What an episode's tokens are credited, and what its values should have been.
#[derive(Debug, Clone, PartialEq)]
pub struct Credit {
    /// Each token's advantage.
    pub advantages: Vec<f64>,
    /// Each value's target.
    pub returns: Vec<f64>,
    /// Which values are learned: all, or those at which a turn begins.
    pub learned: Vec<bool>,
}

impl Critic {
    /// The credit of every episode of a batch. `whiten_rewards` scales the rewards of all tokens to a standard deviation of 1 about their
    /// mean first, as TRL does.
    ///
    /// # Panics
    /// If an episode's arrays differ in length.
    #[must_use]
    pub fn credit(&self, episodes: &[Played<'_>], whiten_rewards: bool) -> Vec<Credit> {
        let mut rewards: Vec<Vec<f64>> = episodes.iter().map(|episode| self.rewards(episode)).collect();
        if whiten_rewards {
            let mean = whiten(&mut rewards);
            rewards.iter_mut().flatten().for_each(|reward| *reward += mean);
        }
        episodes.iter().zip(&rewards).map(|(episode, rewards)| self.credit_one(episode, rewards)).collect()
    }

    /// What every token earns.
    fn rewards(&self, episode: &Played<'_>) -> Vec<f64> {
        let mut rewards: Vec<f64> = episode.penalties.iter().map(|penalty| -penalty).collect();
        for turn in episode.turns {
            if let Some(last) = turn.tokens.clone().next_back() {
                rewards[last] += self.turn_weight * turn.reward;
            }
        }
        if let Some(last) = rewards.last_mut() {
            *last += episode.reward;
        }
        rewards
    }

    fn credit_one(&self, episode: &Played<'_>, rewards: &[f64]) -> Credit {
        let Played { turns, values, .. } = *episode;
        let gae = Gae { gamma: self.gamma, lambda: self.lambda, steps: self.steps };
        let all = |count: usize| vec![true; count];
        match self.over {
            Unit::Tokens => {
                let advantages = gae.advantages(rewards, values, &all(rewards.len()));
                let returns = advantages.iter().zip(values).map(|(advantage, value)| advantage + value).collect();
                Credit { advantages, returns, learned: all(rewards.len()) }
            }
            Unit::Turns => {
                let spoken: Vec<&Turn> = turns.iter().filter(|turn| !turn.tokens.is_empty()).collect();
                let earned: Vec<f64> = spoken.iter().map(|it| rewards[it.tokens.clone()].iter().sum()).collect();
                let expected: Vec<f64> = spoken.iter().map(|it| values[it.tokens.start]).collect();
                let found = gae.advantages(&earned, &expected, &all(earned.len()));
                let zeros = vec![0.0; rewards.len()];
                let mut credit =
                    Credit { advantages: zeros.clone(), returns: zeros, learned: vec![false; rewards.len()] };
                for ((turn, advantage), value) in spoken.iter().zip(found).zip(expected) {
                    credit.advantages[turn.tokens.clone()].fill(advantage);
                    credit.returns[turn.tokens.start] = advantage + value;
                    credit.learned[turn.tokens.start] = true;
                }
                credit
            }
        }
    }

    /// Everything that is wrong with these settings, one sentence each; empty if nothing is.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let Self { gamma, lambda, steps, turn_weight, coef, clip, learning_rate, passes, .. } = self;
        let mut problems = Vec::new();
        for (name, share) in [("gamma", gamma), ("lambda", lambda)] {
            if !(0.0..=1.0).contains(share) {
                problems.push(format!("{name} must lie between 0 and 1, but is {share}"));
            }
        }
        if *steps == Some(0) {
            problems.push("steps must be at least 1, but is 0".to_owned());
        }
        for (name, weight) in [("turn_weight", turn_weight), ("coef", coef)] {
            if !(*weight >= 0.0 && weight.is_finite()) {
                problems.push(format!("{name} must be 0 or more, but is {weight}"));
            }
        }
        if let Some(clip) = clip.filter(|it| !(*it > 0.0 && it.is_finite())) {
            problems.push(format!("clip must be above 0, but is {clip}"));
        }
        if !(*learning_rate > 0.0 && *learning_rate <= 1.0) {
            problems.push(format!("learning_rate must be above 0 and at most 1, but is {learning_rate}"));
        }
        if *passes == 0 {
            problems.push("passes must be at least 1, but is 0".to_owned());
        }
        problems
    }
}

impl Section for Critic {
    const NAME: &'static str = "critic";

    fn problems(&self) -> Vec<String> {
        self.validate()
    }

    fn idle(&self, algorithm: Algorithm) -> Vec<(&'static str, &'static str)> {
        let after = algorithm == Algorithm::Trpo;
        let apart = after || self.network == Network::Separate;
        let idle = [
            (!apart, "coef", "a critic that moves the policy's trunk (`network: trunk`, in `ppo` and `a2c`)"),
            (apart, "learning_rate", "a critic that learns apart from the policy (`network: separate`, or `trpo`)"),
            (after, "passes", "`trpo`"),
            (algorithm != Algorithm::A2c, "clip", "an algorithm that updates more than once a batch (`ppo`, `trpo`)"),
        ];
        idle.into_iter().filter(|(used, ..)| !used).map(|(_, key, who)| (key, who)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [f64; 4] = [0.5, 0.4, 0.6, 0.7];

    /// Two turns of two tokens; the first token was charged 0.1.
    fn credit(critic: &Critic) -> Credit {
        let turns = [Turn { tokens: 0..2, reward: 1.0 }, Turn { tokens: 2..4, reward: 0.0 }];
        let episode = Played { turns: &turns, reward: 1.0, values: &VALUES, penalties: &[0.1, 0.0, 0.0, 0.0] };
        critic.credit(&[episode], false).remove(0)
    }

    fn assert_near(found: &[f64], expected: &[f64]) {
        let apart = found.iter().zip(expected).any(|(found, expected)| (found - expected).abs() > 1e-12);
        assert!(!apart && found.len() == expected.len(), "{found:?} is not {expected:?}");
    }

    #[test]
    fn an_episodes_reward_comes_at_its_end_and_penalties_where_they_are_due() {
        let to_the_end = credit(&Critic { lambda: 1.0, ..Critic::default() });
        assert_near(&to_the_end.returns, &[0.9, 1.0, 1.0, 1.0]);
        assert_near(&to_the_end.advantages, &[0.4, 0.6, 0.4, 0.3]);
        let one_step = credit(&Critic { lambda: 0.0, ..Critic::default() });
        // -.1 + .4 - .5; .6 - .4; .7 - .6; 1 - .7
        assert_near(&one_step.advantages, &[-0.2, 0.2, 0.1, 0.3]);
    }

    #[test]
    fn a_turns_reward_comes_at_the_turns_end() {
        let found = credit(&Critic { lambda: 1.0, turn_weight: 0.5, ..Critic::default() });
        assert_near(&found.returns, &[1.4, 1.5, 1.0, 1.0]);
    }

    #[test]
    fn over_turns_a_turn_is_one_decision_and_its_first_value_stands_for_it() {
        let found =
            credit(&Critic { over: Unit::Turns, gamma: 0.5, lambda: 0.0, turn_weight: 1.0, ..Critic::default() });
        // 0.9 + 0.5 x 0.6 - 0.5 for the first turn, 1 - 0.6 for the second
        assert_near(&found.advantages, &[0.7, 0.7, 0.4, 0.4]);
        assert_near(&found.returns, &[1.2, 0.0, 1.0, 0.0]);
        assert_eq!(found.learned, [true, false, true, false]);
    }

    #[test]
    fn a_silent_episode_has_no_credit() {
        for over in [Unit::Tokens, Unit::Turns] {
            let turns = [Turn { tokens: 0..0, reward: 1.0 }];
            let silent = Played { turns: &turns, reward: 1.0, values: &[], penalties: &[] };
            let found = Critic { over, ..Critic::default() }.credit(&[silent], true);
            assert!(found[0].advantages.is_empty() && found[0].learned.is_empty());
        }
    }

    #[test]
    fn whitened_rewards_keep_their_mean() {
        let turns = [Turn { tokens: 0..2, reward: 0.0 }];
        let episode = |reward| Played { turns: &turns, reward, values: &[0.0; 2], penalties: &[0.0; 2] };
        let critic = Critic { gamma: 0.0, ..Critic::default() };
        let found = critic.credit(&[episode(4.0), episode(8.0)], true);
        let rewards: Vec<f64> = found.iter().flat_map(|credit| credit.returns.clone()).collect();
        // Rewards 0 4 0 8: mean 3, sample variance (9 + 1 + 9 + 25) / 3.
        let spread = (44.0f64 / 3.0 + 1e-8).sqrt();
        assert_near(&rewards, &[3.0 - 3.0 / spread, 3.0 + 1.0 / spread, 3.0 - 3.0 / spread, 3.0 + 5.0 / spread]);
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let critic = Critic {
            gamma: 1.1,
            lambda: -0.1,
            steps: Some(0),
            turn_weight: -1.0,
            coef: f64::NAN,
            clip: Some(0.0),
            learning_rate: 0.0,
            passes: 0,
            ..Critic::default()
        };
        assert_eq!(critic.validate().len(), 8);
        assert!(Critic::default().validate().is_empty());
    }
}
