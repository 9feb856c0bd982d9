//! What each value means, alone and beside the others.

use stateset_algorithms::{Algorithm, Rewards};

use super::findings::{Findings, above_zero, at_least_zero, in_unit};
use super::{Config, Problem, Training, judge, lora, offline, policies, size, supervision};
use crate::device::Device;
use crate::model::{FORMS, ModelName};
use crate::topology::{Blueprint, Kinds};

/// What a configuration refers to but does not contain.
#[derive(Clone)]
pub struct Surroundings {
    /// Whether the policy's folder is there.
    pub model_exists: bool,
    /// The names of the domain's rungs, or why there are none.
    pub rungs: Result<Vec<String>, String>,
    /// What is wrong with what it learns from in place of episodes.
    pub data: Vec<Problem>,
    /// The kinds of actors that its topology can place.
    pub kinds: Kinds,
}

/// Everything that is wrong with `config`, in the order of its sections. Empty if it can be run.
#[must_use]
pub fn validate(config: &Config, around: &Surroundings) -> Vec<Problem> {
    let mut found = Findings::default();
    found.version(config.version);
    let name = &config.run.name;
    let plain = !name.starts_with('.') && name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
    found.check(plain && !name.is_empty(), "run.name", name, "letters, digits, `-`, `_` and `.`, the first not `.`");
    let log_size = config.run.log_size;
    found.check(log_size >= 64 << 10, "run.log_size", size::text(log_size), "at least 64KiB");
    let built = config.run.device != Device::Cuda || cfg!(feature = "cuda");
    found.check(built, "run.device", "cuda", "`cpu` or `auto`: this program was built without the feature `cuda`");
    let planned = config.training.memory_budget.is_none() || config.run.device == Device::Cpu;
    let unplanned = "left out unless `run.device` is `cpu`: what is planned is the memory of the CPU";
    found.check(planned, "training.memory_budget", "set", unplanned);
    agent(config, around, &mut found);
    found.domain("environment.domain", around.rungs.as_deref());
    found.rung("environment.rung", &config.environment.rung, around.rungs.as_deref());
    rewards(config, &mut found);
    training(&config.training, &mut found);
    let stops = config.agent.sampling.stop.is_empty();
    let alike = "`false` with `agent.sampling.stop`: a reply that a stop text ended looks like one that was cut off";
    found.check(stops || !config.training.grpo.mask_truncated, "training.grpo.mask_truncated", "true", alike);
    offline::validate(&config.training, &mut found);
    found.extend(around.data.iter().cloned());
    found.check(config.evaluation.episodes >= 1, "evaluation.episodes", config.evaluation.episodes, "at least 1");
    policies::validate(config, &mut found);
    supervision::validate(&config.supervision, &mut found);
    found.extend(Blueprint::of(config, &around.kinds).err().into_iter().flatten());
    found.into_problems()
}

fn agent(config: &Config, around: &Surroundings, found: &mut Findings) {
    let agent = &config.agent;
    match ModelName::parse(&agent.model) {
        Ok(ModelName::Folder(folder)) if !around.model_exists && !folder.exists() => {
            let problem = Problem::new("agent.model", format!("there is no folder `{}`", agent.model));
            found.add(problem.allowed(FORMS));
        }
        Err(unknown) if !around.model_exists => {
            let problem = Problem::new("agent.model", format!("`agent.model` cannot be `{}`", agent.model));
            let problem = problem.allowed(FORMS);
            found.add(match unknown.near {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem,
            });
        }
        Ok(_) | Err(_) => {}
    }
    let sampling = &agent.sampling;
    let temperature = sampling.temperature;
    found.check(
        temperature > 0.0 && temperature.is_finite(),
        "agent.sampling.temperature",
        temperature,
        "above 0: a policy that never explores learns nothing",
    );
    found.check(
        sampling.top_p > 0.0 && sampling.top_p <= 1.0,
        "agent.sampling.top_p",
        sampling.top_p,
        "above 0, at most 1",
    );
    found.check((0.0..1.0).contains(&sampling.min_p), "agent.sampling.min_p", sampling.min_p, "0 or more, below 1");
    found.check(agent.max_context >= 16, "agent.max_context", agent.max_context, "at least 16");
    let room = 1..agent.max_context.max(2);
    found.check(
        room.contains(&sampling.max_tokens),
        "agent.sampling.max_tokens",
        sampling.max_tokens,
        format!("at least 1, below agent.max_context = {}", agent.max_context),
    );
    found.check(
        sampling.stop.iter().all(|text| !text.is_empty()),
        "agent.sampling.stop",
        "a list with an empty text",
        "texts of at least one character",
    );
}

fn rewards(config: &Config, found: &mut Findings) {
    let rewards = &config.rewards;
    for (key, weight) in
        [("rewards.success_weight", rewards.success_weight), ("rewards.turn_weight", rewards.turn_weight)]
    {
        found.check(weight >= 0.0 && weight.is_finite(), key, weight, "0 or more");
    }
    found.check(
        rewards.success_weight != 0.0 || rewards.turn_weight != 0.0 || rewards.judge.is_some(),
        "rewards.success_weight",
        "0, and so is `rewards.turn_weight`",
        "at least one of them above 0, or a `rewards.judge`",
    );
    if let Some(settings) = &rewards.judge {
        judge::validate(settings, config.supervision.deadlines.stall, found);
    }
}

fn training(training: &Training, found: &mut Findings) {
    found.check(training.steps >= 1, "training.steps", training.steps, "at least 1");
    found.check(training.groups_per_step >= 1, "training.groups_per_step", training.groups_per_step, "at least 1");
    let (least, why) = match training.algorithm.compares() {
        true => (2, "at least 2: an episode's credit is its reward measured against its siblings"),
        false => (1, "at least 1"),
    };
    found.check(training.group_size >= least, "training.group_size", training.group_size, why);
    let replaces = training.max_resamples == 0 || training.algorithm.compares() && training.sampled().0 > 0;
    let instead = "0 where episodes are not compared with one another: every group teaches something";
    found.check(replaces, "training.max_resamples", training.max_resamples, instead);
    found.check(
        in_unit(training.learning_rate),
        "training.learning_rate",
        training.learning_rate,
        "above 0, at most 1",
    );
    found.sentences("training.schedule", training.schedule.validate(training.steps));
    found.section(training.algorithm, &training.grpo);
    found.section(training.algorithm, &training.ppo);
    found.section(training.algorithm, &training.a2c);
    found.section(training.algorithm, &training.trpo);
    found.section(training.algorithm, &training.critic);
    found.section(training.algorithm, &training.dpo);
    found.section(training.algorithm, &training.sft);
    let rated = training.learning_rate != Training::default().learning_rate;
    let instead = "nothing in trpo, whose steps are as long as `training.trpo.max_kl` allows: leave it out";
    found.check(!(training.algorithm == Algorithm::Trpo && rated), "training.learning_rate", "set", instead);
    let summed = training.max_resamples == 0 || training.grpo.rewards == Rewards::Summed;
    let instead =
        "0 with `training.grpo.rewards: apart`: groups whose rewards are equal in sum may differ in their terms";
    found.check(summed, "training.max_resamples", training.max_resamples, instead);
    if let Some(settings) = &training.lora {
        lora::validate(settings, found);
    }
    found.check(training.max_staleness >= 1, "training.max_staleness", training.max_staleness, "at least 1");
    found.sentences("training.importance_sampling", training.importance_sampling.validate());
    optimizer(training, found);
    found.check(
        training.micro_batch_tokens >= 1,
        "training.micro_batch_tokens",
        training.micro_batch_tokens,
        "at least 1",
    );
    let budget = training.memory_budget.map_or_else(String::new, size::text);
    found.check(training.memory_budget != Some(0), "training.memory_budget", budget, "above 0");
    let chosen = training.micro_batch_tokens == Training::default().micro_batch_tokens;
    let instead = "nothing beside `training.memory_budget`, by which it is chosen: leave one of them out";
    found.check(
        training.memory_budget.is_none() || chosen,
        "training.micro_batch_tokens",
        training.micro_batch_tokens,
        instead,
    );
    found.check(training.save_every >= 1, "training.save_every", training.save_every, "at least 1");
    found.check(training.keep_checkpoints >= 1, "training.keep_checkpoints", training.keep_checkpoints, "at least 1");
}

fn optimizer(training: &Training, found: &mut Findings) {
    found.check(at_least_zero(training.weight_decay), "training.weight_decay", training.weight_decay, "0 or more");
    let [first, second] = training.betas;
    let decaying = |beta: f64| (0.0..1.0).contains(&beta);
    found.check(
        decaying(first) && decaying(second),
        "training.betas",
        format!("[{first}, {second}]"),
        "two numbers, each 0 or more and below 1",
    );
    found.check(above_zero(training.epsilon), "training.epsilon", training.epsilon, "above 0");
    found.check(above_zero(training.max_grad_norm), "training.max_grad_norm", training.max_grad_norm, "above 0");
}
