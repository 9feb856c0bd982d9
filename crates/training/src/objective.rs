//! What a batch is made of and what it loses, by algorithm.

use stateset_algorithms::{
    ActorCritic, Algorithm, Critic, Dpo, EntropyControl, Evaluation, Grpo, KlControl, Normalizer, Rewards, Sequence,
    Sft, Slopes, Surrogate, Trpo,
};
use stateset_domain::{Group, LearnerError, PolicyVersion};

use crate::Example;
use crate::batch::Batch;

/// What the policy is optimised for.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a learner has one")]
pub enum Objective {
    /// Rewards of episodes, each measured against others.
    Grpo(Grpo),
    /// Rewards of episodes, each measured against what a critic had expected.
    ActorCritic(ActorCritic),
    /// Preferences: of each group, the best episode over the worst; or pairs that are given.
    Dpo(Dpo),
    /// Likeness to conversations that are given.
    Sft(Grpo),
}

/// The counts of a whole optimizer batch.
pub(crate) struct Counts {
    divisor: Divisor,
    /// Values that a critic learns.
    values: usize,
}

enum Divisor {
    Tokens(Normalizer),
    Pairs(usize),
}

impl Counts {
    /// What each value of a critic weighs.
    pub(crate) fn value_weight(&self) -> f64 {
        1.0 / self.values.max(1) as f64
    }
}

impl From<Algorithm> for Objective {
    /// As that algorithm is where nothing else is asked for.
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Dpo => Self::Dpo(algorithm.settings()),
            Algorithm::Sft => Self::Sft(Sft::policy()),
            Algorithm::Ppo => Self::ActorCritic(ActorCritic::ppo(&algorithm.settings(), algorithm.settings())),
            Algorithm::A2c => Self::ActorCritic(ActorCritic::a2c(&algorithm.settings(), algorithm.settings())),
            Algorithm::Trpo => Self::ActorCritic(ActorCritic::trpo(&algorithm.settings(), algorithm.settings())),
            _ => Self::Grpo(algorithm.settings()),
        }
    }
}

impl Objective {
    /// Passes over each batch.
    pub(crate) fn epochs(&self) -> usize {
        match self {
            Self::Grpo(grpo) => grpo.epochs,
            Self::ActorCritic(it) => it.policy.epochs,
            Self::Dpo(_) | Self::Sft(_) => 1,
        }
    }

    /// Updates a pass.
    pub(crate) fn mini_batches(&self) -> usize {
        match self {
            Self::ActorCritic(it) => it.mini_batches,
            Self::Grpo(_) | Self::Dpo(_) | Self::Sft(_) => 1,
        }
    }

    /// Whether the whole batch is looked at before anything moves: a critic's credit depends on all of it, and so does what is charged to
    /// rewards that are compared.
    pub(crate) fn looks_first(&self) -> bool {
        match self {
            Self::Grpo(grpo) => grpo.charges(),
            Self::ActorCritic(_) => true,
            Self::Dpo(_) | Self::Sft(_) => false,
        }
    }

    /// How far a step may move the policy before it ends, nats per token.
    pub(crate) fn target_kl(&self) -> Option<f64> {
        self.actor_critic()?.target_kl
    }

    /// Credit by a critic, if there is one.
    pub(crate) fn actor_critic(&self) -> Option<&ActorCritic> {
        match self {
            Self::ActorCritic(it) => Some(it),
            Self::Grpo(_) | Self::Dpo(_) | Self::Sft(_) => None,
        }
    }

    /// The critic's settings, if there is one.
    pub(crate) fn critic(&self) -> Option<&Critic> {
        self.actor_critic().map(|it| &it.critic)
    }

    /// How a step of the natural gradient is found, if steps are that.
    pub(crate) fn trust_region(&self) -> Option<&Trpo> {
        self.actor_critic()?.trust_region.as_ref()
    }

    /// How strongly the policy is held to the reference: the weight of the KL term, or of the penalty. DPO's `beta` is that of the problem
    /// it solves.
    #[must_use]
    pub fn kl_coef(&self) -> f64 {
        match self {
            Self::Grpo(grpo) => grpo.kl_coef,
            Self::ActorCritic(it) => it.penalty.1,
            Self::Dpo(dpo) => dpo.beta,
            Self::Sft(_) => 0.0,
        }
    }

    pub(crate) fn set_kl_coef(&mut self, kl_coef: f64) {
        match self {
            Self::Grpo(grpo) => grpo.kl_coef = kl_coef,
            Self::ActorCritic(it) => it.penalty.1 = kl_coef,
            // There is no preference without a reference to measure it from.
            Self::Dpo(dpo) if kl_coef > 0.0 => dpo.beta = kl_coef,
            Self::Dpo(_) | Self::Sft(_) => {}
        }
    }

    /// How the weight of the KL term or of the penalty is adapted, if it is.
    pub(crate) fn kl_control(&self) -> Option<KlControl> {
        match self {
            Self::Grpo(grpo) => grpo.kl_control(),
            Self::ActorCritic(it) => it.kl_control,
            Self::Dpo(_) | Self::Sft(_) => None,
        }
    }

    /// How the bonus for entropy is adapted, if it is.
    pub(crate) fn entropy_control(&self) -> Option<EntropyControl> {
        match self {
            Self::Grpo(grpo) => grpo.entropy_control(),
            Self::ActorCritic(_) | Self::Dpo(_) | Self::Sft(_) => None,
        }
    }

    /// What a nat of entropy earns.
    pub(crate) fn entropy_coef(&self) -> f64 {
        match self {
            Self::Grpo(grpo) => grpo.entropy_coef,
            Self::ActorCritic(it) => it.policy.entropy_coef,
            Self::Dpo(_) | Self::Sft(_) => 0.0,
        }
    }

    /// Sets what a nat of entropy earns, where that is adapted.
    pub(crate) fn set_entropy_coef(&mut self, entropy_coef: f64) {
        if let Self::Grpo(grpo) = self {
            grpo.entropy_coef = entropy_coef;
        }
    }

    /// What a token's reward is charged that the policy and the reference find so likely.
    pub(crate) fn charge(&self, new: f64, reference: f64) -> f64 {
        match self {
            Self::Grpo(grpo) => grpo.charge(new, reference),
            Self::ActorCritic(it) => it.penalty(new, reference),
            Self::Dpo(_) | Self::Sft(_) => 0.0,
        }
    }

    /// What an example's tokens weigh in a pass, if that is not what they weigh in the step.
    pub(crate) fn let_go(&self, example: &Example, new: &[f64], weights: Option<&[f64]>) -> Option<Vec<f64>> {
        match self {
            Self::Grpo(grpo) => grpo.let_go(new, &example.sampler, &example.advantages, weights),
            Self::ActorCritic(_) | Self::Dpo(_) | Self::Sft(_) => None,
        }
    }

    /// Whether every token's log-probability under the reference is needed.
    pub(crate) fn compares(&self) -> bool {
        self.kl_coef() > 0.0
    }

    /// Whether KL from the reference is measured where nothing asks for it. It is estimated on tokens that the policy sampled itself, and
    /// says nothing on others.
    pub(crate) fn watches_kl(&self) -> bool {
        !matches!(self, Self::Sft(_))
    }

    /// Whether an episode without credit is to be computed all the same.
    pub(crate) fn moves_all(&self) -> bool {
        match self {
            Self::Grpo(it) => {
                // What steers by the batch's mean entropy has to see the whole batch.
                let bonus = it.entropy_coef > 0.0 || it.entropy_target.is_some();
                bonus || it.kl_in_loss() > 0.0 || it.surrogate == Surrogate::Dppo
            }
            Self::ActorCritic(_) | Self::Sft(_) => true,
            Self::Dpo(_) => false,
        }
    }

    /// How many examples in a row belong together.
    pub(crate) fn together(&self) -> usize {
        match self {
            Self::Grpo(_) | Self::ActorCritic(_) | Self::Sft(_) => 1,
            Self::Dpo(_) => 2,
        }
    }

    /// What a step of the policy at version `now` is made from.
    pub(crate) fn batch(&self, groups: &[Group], now: PolicyVersion) -> Result<Batch, LearnerError> {
        match self {
            Self::Grpo(grpo) => {
                let batch = Batch::of_episodes(groups, now)?;
                if grpo.rewards == Rewards::Apart {
                    batch.check_terms()?;
                }
                Ok(if grpo.mask_truncated { batch.without_truncated(groups) } else { batch })
            }
            Self::ActorCritic(_) => Batch::of_episodes(groups, now),
            Self::Dpo(_) => Batch::of_pairs(groups, now),
            Self::Sft(_) => Err(LearnerError::Batch("sft learns from given conversations, and there are none".into())),
        }
    }

    pub(crate) fn count<'a>(&self, examples: impl Iterator<Item = &'a Example> + Clone) -> Counts {
        let sampled = examples.clone().map(Example::scored_tokens);
        let divisor = match self {
            Self::Grpo(grpo) | Self::Sft(grpo) => Divisor::Tokens(grpo.normalizer(sampled)),
            Self::ActorCritic(it) => Divisor::Tokens(it.policy.normalizer(sampled)),
            Self::Dpo(_) => Divisor::Pairs(examples.clone().filter(|it| it.advantages.first() > Some(&0.0)).count()),
        };
        let values = examples.flat_map(|example| &example.learned).filter(|learned| **learned).count();
        Counts { divisor, values }
    }

    /// The loss of some of the batch that was counted, and its slopes.
    pub(crate) fn evaluate(&self, sequences: &[Sequence<'_>], counts: &Counts, slopes: &mut Slopes) -> Evaluation {
        match (self, &counts.divisor) {
            (Self::Grpo(grpo) | Self::Sft(grpo), Divisor::Tokens(normalizer)) => {
                grpo.evaluate(sequences, normalizer, slopes)
            }
            (Self::ActorCritic(it), Divisor::Tokens(normalizer)) => it.policy.evaluate(sequences, normalizer, slopes),
            (Self::Dpo(dpo), Divisor::Pairs(pairs)) => dpo.evaluate_pairs(sequences, *pairs, &mut slopes.log_probs),
            _ => unreachable!("an objective counts what it divides by"),
        }
    }
}
