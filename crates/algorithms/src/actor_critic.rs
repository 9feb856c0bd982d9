//! PPO, A2C and TRPO: a critic says what could be expected, and the policy is pushed by what came beyond that.

use serde::{Deserialize, Serialize};

use crate::advantage::whiten;
use crate::{Aggregation, Algorithm, Credit, Critic, Grpo, KlControl, KlEstimator, Played, Section, Surrogate, Trpo};

/// Proximal policy optimisation (arXiv:1707.06347), in the form that language models are trained with (arXiv:2203.02155).
///
/// Clip and weight of the critic's loss are the [`Critic`](crate::Critic)'s settings. The defaults are TRL's, but for the penalty: with
/// rewards that are executed checks there is little to over-optimise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ppo {
    /// A ratio below `1 - clip_low` earns a bad token no further push. In `(0, 1)`; default 0.2.
    pub clip_low: f64,
    /// A ratio above `1 + clip_high` earns a good token no further push. Above 0; default 0.2.
    pub clip_high: f64,
    /// A ratio above this earns a bad token no further push either. Above `1 + clip_high`; default none. verl has 3.
    pub dual_clip: Option<f64>,
    /// What a nat of entropy earns, per token. At least 0; default 0.
    pub entropy_coef: f64,
    /// How KL(policy, reference) is estimated for the penalty: `k1` (default), `k2` or `k3`.
    pub kl: KlEstimator,
    /// What a nat of it costs, taken from each token's reward. At least 0; default 0.
    pub kl_coef: f64,
    /// The KL(policy, reference) to keep, nats per token, by moving that cost after every step. Above 0; default none: the cost stays. (How
    /// far one step may move the policy is `target_kl`.)
    pub kl_target: Option<f64>,
    /// Over how many episodes the cost may change by a fifth towards that target. Above 0; default 10000, as in verl.
    pub kl_horizon: f64,
    /// Whether rewards are scaled to a standard deviation of 1 about their mean. Default false.
    pub whiten_rewards: bool,
    /// Whether advantages are scaled to mean 0 and standard deviation 1 over the batch's tokens. Default true.
    pub whiten_advantages: bool,
    /// Passes over each batch. At least 1; default 4.
    pub epochs: usize,
    /// Optimizer updates a pass, each on a part of the batch. At least 1; default 1.
    pub mini_batches: usize,
    /// Once the policy has moved one and a half times so far from where the step began (k3, nats per token) the step ends. Above 0; default
    /// none.
    pub target_kl: Option<f64>,
}

impl Default for Ppo {
    fn default() -> Self {
        Self {
            clip_low: 0.2,
            clip_high: 0.2,
            dual_clip: None,
            entropy_coef: 0.0,
            kl: KlEstimator::K1,
            kl_coef: 0.0,
            kl_target: None,
            kl_horizon: 1e4,
            whiten_rewards: false,
            whiten_advantages: true,
            epochs: 4,
            mini_batches: 1,
            target_kl: None,
        }
    }
}

impl Ppo {
    /// The loss of the policy: the mean over the batch's tokens.
    #[must_use]
    pub fn policy(&self) -> Grpo {
        let Self { clip_low, clip_high, dual_clip, entropy_coef, epochs, .. } = *self;
        let aggregation = Aggregation::Dapo;
        Grpo { aggregation, clip_low, clip_high, dual_clip, entropy_coef, epochs, ..Grpo::default() }
    }

    /// Everything that is wrong with these settings, one sentence each; empty if nothing is.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let Self { kl_coef, kl_target, kl_horizon, .. } = *self;
        let mut problems = Grpo { kl_coef, kl_target, kl_horizon, ..self.policy() }.validate();
        if self.mini_batches == 0 {
            problems.push("mini_batches must be at least 1, but is 0".to_owned());
        }
        if let Some(target) = self.target_kl.filter(|it| !(*it > 0.0 && it.is_finite())) {
            problems.push(format!("target_kl must be above 0, but is {target}"));
        }
        problems
    }
}

/// Advantage actor-critic: A3C (arXiv:1602.01783) with one actor. Each batch is used once, and no ratio is needed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct A2c {
    /// What a nat of entropy earns, per token. At least 0; default 0.
    pub entropy_coef: f64,
    /// Whether advantages are scaled to mean 0 and standard deviation 1 over the batch's tokens. Default false.
    pub whiten_advantages: bool,
}

impl A2c {
    /// The loss of the policy: the mean over the batch's tokens.
    #[must_use]
    pub fn policy(&self) -> Grpo {
        Grpo {
            surrogate: Surrogate::Reinforce,
            aggregation: Aggregation::Dapo,
            entropy_coef: self.entropy_coef,
            ..Grpo::default()
        }
    }

    /// Everything that is wrong with these settings, one sentence each; empty if nothing is.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        self.policy().validate()
    }
}

/// What those three are to a learner: a loss, a critic, and how a step is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct ActorCritic {
    /// The policy's loss, and the number of passes.
    pub policy: Grpo,
    /// Whose values credit is measured from.
    pub critic: Critic,
    /// How KL(policy, reference) is estimated for the penalty, and what a nat of it costs.
    pub penalty: (KlEstimator, f64),
    /// How that cost is adapted, if it is.
    pub kl_control: Option<KlControl>,
    /// Whether rewards are scaled.
    pub whiten_rewards: bool,
    /// Whether advantages are.
    pub whiten_advantages: bool,
    /// Updates a pass.
    pub mini_batches: usize,
    /// How far the policy may move in one step.
    pub target_kl: Option<f64>,
    /// Where a step is one of the natural gradient, how it is found.
    pub trust_region: Option<Trpo>,
}

impl ActorCritic {
    /// PPO with that critic.
    #[must_use]
    pub fn ppo(ppo: &Ppo, critic: Critic) -> Self {
        let Ppo { kl, kl_coef, whiten_rewards, whiten_advantages, mini_batches, target_kl, .. } = *ppo;
        Self {
            policy: ppo.policy(),
            critic,
            penalty: (kl, kl_coef),
            kl_control: ppo.kl_target.map(|target| KlControl { target, horizon: ppo.kl_horizon }),
            whiten_rewards,
            whiten_advantages,
            mini_batches,
            target_kl,
            trust_region: None,
        }
    }

    /// A2C with that critic.
    #[must_use]
    pub fn a2c(a2c: &A2c, critic: Critic) -> Self {
        let whiten_advantages = a2c.whiten_advantages;
        Self { policy: a2c.policy(), whiten_advantages, ..Self::ppo(&Ppo::default(), critic) }
    }

    /// TRPO with that critic.
    #[must_use]
    pub fn trpo(trpo: &Trpo, critic: Critic) -> Self {
        Self { policy: trpo.policy(), trust_region: Some(trpo.clone()), ..Self::ppo(&Ppo::default(), critic) }
    }

    /// Whether the critic has an optimizer of its own.
    #[must_use]
    pub fn critic_is_apart(&self) -> bool {
        self.trust_region.is_some() || self.critic.network == crate::Network::Separate
    }

    /// What a token is charged that the policy and the reference find so likely.
    #[must_use]
    pub fn penalty(&self, new: f64, reference: f64) -> f64 {
        let (kl, coef) = self.penalty;
        if coef == 0.0 { 0.0 } else { coef * kl.value(new, reference) }
    }

    /// The credit of every episode of a batch.
    ///
    /// # Panics
    /// If an episode's arrays differ in length.
    #[must_use]
    pub fn credit(&self, episodes: &[Played<'_>]) -> Vec<Credit> {
        let mut credits = self.critic.credit(episodes, self.whiten_rewards);
        if self.whiten_advantages {
            let mut advantages: Vec<Vec<f64>> =
                credits.iter_mut().map(|credit| std::mem::take(&mut credit.advantages)).collect();
            whiten(&mut advantages);
            credits.iter_mut().zip(advantages).for_each(|(credit, advantages)| credit.advantages = advantages);
        }
        credits
    }
}

impl Section for A2c {
    const NAME: &'static str = "a2c";

    fn problems(&self) -> Vec<String> {
        self.validate()
    }

    fn idle(&self, _algorithm: Algorithm) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
}

impl Section for Ppo {
    const NAME: &'static str = "ppo";

    fn problems(&self) -> Vec<String> {
        self.validate()
    }

    fn idle(&self, _algorithm: Algorithm) -> Vec<(&'static str, &'static str)> {
        let pays = self.kl_coef > 0.0;
        let idle = [
            (pays, "kl", "a `kl_coef` above 0"),
            (pays, "kl_target", "a `kl_coef` above 0"),
            (self.kl_target.is_some(), "kl_horizon", "a `kl_target`"),
        ];
        idle.into_iter().filter(|(used, ..)| !used).map(|(_, key, who)| (key, who)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_reported_at_once() {
        let ppo =
            Ppo { clip_low: 0.0, kl_coef: -1.0, epochs: 0, mini_batches: 0, target_kl: Some(0.0), ..Ppo::default() };
        assert_eq!(ppo.validate().len(), 5, "{:?}", ppo.validate());
        assert_eq!(A2c { entropy_coef: -1.0, ..A2c::default() }.validate().len(), 1);
        assert!(Ppo::default().validate().is_empty() && A2c::default().validate().is_empty());
    }
}
