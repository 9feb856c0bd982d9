//! What a batch is made of and what it loses, by algorithm.

use stateset_algorithms::{Dpo, Evaluation, Grpo, Normalizer, Sequence, Surrogate};
use stateset_domain::{Group, LearnerError, PolicyVersion};

use crate::Example;
use crate::batch::Batch;

/// What the policy is optimised for.
#[derive(Debug, Clone, PartialEq)]
pub enum Objective {
    /// Rewards of episodes, each measured against others.
    Grpo(Grpo),
    /// Preferences: of each group, the best episode over the worst.
    Dpo(Dpo),
}

/// The counts of a whole optimizer batch.
pub(crate) enum Counts {
    Tokens(Normalizer),
    Pairs(usize),
}

impl Objective {
    /// Optimizer passes over each batch.
    pub(crate) fn epochs(&self) -> usize {
        match self {
            Self::Grpo(grpo) => grpo.epochs,
            Self::Dpo(_) => 1,
        }
    }

    /// How strongly the policy is held to the reference: the weight of the KL term. DPO's `beta` is that of the problem it solves.
    #[must_use]
    pub fn kl_coef(&self) -> f64 {
        match self {
            Self::Grpo(grpo) => grpo.kl_coef,
            Self::Dpo(dpo) => dpo.beta,
        }
    }

    pub(crate) fn set_kl_coef(&mut self, kl_coef: f64) {
        match self {
            Self::Grpo(grpo) => grpo.kl_coef = kl_coef,
            // There is no preference without a reference to measure it from.
            Self::Dpo(dpo) if kl_coef > 0.0 => dpo.beta = kl_coef,
            Self::Dpo(_) => {}
        }
    }

    /// Whether every token's log-probability under the reference is needed.
    pub(crate) fn compares(&self) -> bool {
        self.kl_coef() > 0.0
    }

    /// Whether an episode without credit has a gradient all the same.
    pub(crate) fn moves_all(&self) -> bool {
        matches!(self, Self::Grpo(grpo) if grpo.kl_coef > 0.0 || grpo.surrogate == Surrogate::Dppo)
    }

    /// How many examples in a row belong together.
    pub(crate) fn together(&self) -> usize {
        match self {
            Self::Grpo(_) => 1,
            Self::Dpo(_) => 2,
        }
    }

    /// What a step of the policy at version `now` is made from.
    pub(crate) fn batch(&self, groups: &[Group], now: PolicyVersion) -> Result<Batch, LearnerError> {
        match self {
            Self::Grpo(grpo) => Batch::of_members(groups, grpo, now),
            Self::Dpo(_) => Batch::of_pairs(groups, now),
        }
    }

    pub(crate) fn count(&self, examples: &[Example]) -> Counts {
        match self {
            Self::Grpo(grpo) => Counts::Tokens(grpo.normalizer(examples.iter().map(Example::scored_tokens))),
            Self::Dpo(_) => Counts::Pairs(examples.iter().filter(|it| it.advantages.first() > Some(&0.0)).count()),
        }
    }

    /// The loss of some of the batch that was counted. Writes the slopes of its log-probabilities to `slopes`.
    pub(crate) fn evaluate(&self, sequences: &[Sequence<'_>], counts: &Counts, slopes: &mut [f64]) -> Evaluation {
        match (self, counts) {
            (Self::Grpo(grpo), Counts::Tokens(normalizer)) => grpo.evaluate(sequences, normalizer, slopes),
            (Self::Dpo(dpo), Counts::Pairs(pairs)) => dpo.evaluate_pairs(sequences, *pairs, slopes),
            _ => unreachable!("an objective counts what it divides by"),
        }
    }
}
