//! What a configuration comes to: settings of the learner, the course of the run, its policies.

use stateset_actors::policy::{Configured, EarlyStopping, Plan, Policies};
use stateset_algorithms::{ActorCritic, Algorithm, Sft, Staleness};
use stateset_domain::Stream;
use stateset_rewards::EpisodeReward;
use stateset_training::{Adaptation, LearnerSettings, Objective, OptimizerSettings};

use crate::config::{Config, Training};
use crate::model;

/// How a learner learns that is configured so.
pub(crate) fn learner_settings(config: &Config) -> LearnerSettings {
    let training = &config.training;
    LearnerSettings {
        objective: objective(training),
        total_steps: training.steps,
        learning_rate: training.learning_rate,
        schedule: training.schedule,
        optimizer: OptimizerSettings {
            kind: training.optimizer,
            betas: training.betas.into(),
            epsilon: training.epsilon,
            weight_decay: training.weight_decay,
            max_grad_norm: training.max_grad_norm,
        },
        staleness: Staleness { rule: training.staleness, importance: training.importance_sampling.clone() },
        // What is given was not sampled at ours.
        temperature: if training.is_offline() { 1.0 } else { config.agent.sampling.temperature },
        micro_batch_tokens: training.micro_batch_tokens,
        activation_checkpointing: training.activation_checkpointing,
        adapter: training.lora.as_ref().map(|lora| Adaptation {
            config: lora.adapter(),
            base: model::absolute(&config.agent.model),
            stream: Stream::new(config.run.seed).fork(u64::from_le_bytes(*b"adapters")),
        }),
        undoable: undoable(config),
    }
}

/// Whether a step may have to be taken back.
pub(crate) fn undoable(config: &Config) -> bool {
    policies(config).may_skip()
}

fn objective(training: &Training) -> Objective {
    let critic = || training.critic.clone();
    match training.algorithm {
        Algorithm::Ppo => Objective::ActorCritic(ActorCritic::ppo(&training.ppo, critic())),
        Algorithm::A2c => Objective::ActorCritic(ActorCritic::a2c(&training.a2c, critic())),
        Algorithm::Trpo => Objective::ActorCritic(ActorCritic::trpo(&training.trpo, critic())),
        Algorithm::Dpo => Objective::Dpo(training.dpo.clone()),
        Algorithm::Sft => Objective::Sft(Sft::policy()),
        _ => Objective::Grpo(training.grpo.clone()),
    }
}

pub(super) fn episode_reward(config: &Config) -> EpisodeReward {
    let crate::config::Rewards { success_weight, turn_weight, .. } = config.rewards;
    EpisodeReward { success_weight, turn_weight }
}

pub(super) fn plan(config: &Config) -> Plan {
    let training = &config.training;
    let (groups_per_step, group_size) = training.sampled();
    Plan {
        seed: config.run.seed,
        steps: training.steps,
        groups_per_step,
        group_size,
        max_resamples: training.max_resamples,
        save_every: training.save_every,
        eval_every: training.eval_every,
        eval_episodes: config.evaluation.episodes,
        sampling: config.agent.sampling.clone(),
        max_staleness: training.staleness_bound(),
    }
}

pub(super) fn policies(config: &Config) -> Policies {
    let training = &config.training;
    let (groups, episodes) = training.sampled();
    let crate::config::EarlyStopping { enabled, patience, min_delta } = training.early_stopping;
    Policies {
        rules: config.rules(),
        early_stopping: enabled.then_some(EarlyStopping { patience, min_delta }),
        episodes_per_step: u64::from(groups) * u64::from(episodes),
        groups_per_step: u64::from(groups),
        configured: Configured {
            kl_coef: objective(training).kl_coef(),
            temperature: config.agent.sampling.temperature,
            max_staleness: plan(config).max_staleness,
        },
    }
}
