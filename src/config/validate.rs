//! What each value means, alone and beside the others.

use std::fmt::Display;
use std::time::Duration;

use stateset_actors::policy::{Condition, ConditionError, signals};
use stateset_algorithms::{Algorithm, Rewards, Section};
use stateset_domain::{Directive, Scaling};

use super::suggest::{nearest, quoted};
use super::{Config, Policy, Pretraining, Problem, Supervision, Training, duration, judge, lora, offline, size};
use crate::device::Device;
use crate::model::{FORMS, ModelName};
use crate::topology::{Blueprint, Kinds};

/// What a configuration refers to but does not contain.
#[derive(Clone)]
pub struct World {
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
pub fn validate(config: &Config, world: &World) -> Vec<Problem> {
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
    agent(config, world, &mut found);
    found.domain("environment.domain", world.rungs.as_deref());
    found.rung("environment.rung", &config.environment.rung, world.rungs.as_deref());
    rewards(config, &mut found);
    training(&config.training, &mut found);
    let stops = config.agent.sampling.stop.is_empty();
    let alike = "`false` with `agent.sampling.stop`: a reply that a stop text ended looks like one that was cut off";
    found.check(stops || !config.training.grpo.mask_truncated, "training.grpo.mask_truncated", "true", alike);
    offline::validate(&config.training, &mut found);
    found.0.extend(world.data.iter().cloned());
    found.check(config.evaluation.episodes >= 1, "evaluation.episodes", config.evaluation.episodes, "at least 1");
    policies(config, &mut found);
    supervision(&config.supervision, &mut found);
    found.0.extend(Blueprint::of(config, &world.kinds).err().into_iter().flatten());
    found.0
}

/// Everything that is wrong with `config`. `rungs` are the domain's, or why there are none.
#[must_use]
pub(super) fn validate_pretraining(config: &Pretraining, rungs: Result<&[String], &String>) -> Vec<Problem> {
    let mut found = Findings::default();
    found.version(config.version);
    let model = &config.model;
    found.check(model.layers >= 1, "model.layers", model.layers, "at least 1");
    found.check(model.heads >= 1, "model.heads", model.heads, "at least 1");
    let even = model.hidden >= 1 && model.hidden.is_multiple_of(2 * model.heads);
    found.check(even, "model.hidden", model.hidden, format!("a multiple of 2 * heads = {}", 2 * model.heads));
    let shared = model.kv_heads >= 1 && model.heads.is_multiple_of(model.kv_heads);
    found.check(shared, "model.kv_heads", model.kv_heads, format!("a divisor of heads = {}", model.heads));
    found.check(model.intermediate >= 1, "model.intermediate", model.intermediate, "at least 1");
    found.check(model.vocab_size >= 64, "model.vocab_size", model.vocab_size, "at least 64");
    found.check(model.max_context >= 16, "model.max_context", model.max_context, "at least 16");
    found.check(
        model.rope_theta > 1.0 && model.rope_theta.is_finite(),
        "model.rope_theta",
        model.rope_theta,
        "above 1",
    );
    found.domain("domain", rungs);
    found.check(!config.rungs.is_empty(), "rungs", "empty", "at least one rung with its weight");
    for share in &config.rungs {
        found.check(
            share.weight > 0.0 && share.weight.is_finite(),
            "rungs",
            format!("{} times `{}`", share.weight, share.rung),
            "weights above 0",
        );
        found.rung("rungs", &share.rung, rungs);
    }
    found.check(config.steps >= 1, "steps", config.steps, "at least 1");
    found.check(config.batch >= 1, "batch", config.batch, "at least 1");
    found.check(in_unit(config.learning_rate), "learning_rate", config.learning_rate, "above 0, at most 1");
    found.sentences("schedule", config.schedule.validate(config.steps));
    found.check(at_least_zero(config.weight_decay), "weight_decay", config.weight_decay, "0 or more");
    found.check(above_zero(config.max_grad_norm), "max_grad_norm", config.max_grad_norm, "above 0");
    found.0
}

fn agent(config: &Config, world: &World, found: &mut Findings) {
    let agent = &config.agent;
    match ModelName::parse(&agent.model) {
        Ok(ModelName::Folder(folder)) if !world.model_exists && !folder.exists() => {
            let problem = Problem::new("agent.model", format!("there is no folder `{}`", agent.model));
            found.0.push(problem.allowed(FORMS));
        }
        Err(unknown) if !world.model_exists => {
            let problem = Problem::new("agent.model", format!("`agent.model` cannot be `{}`", agent.model));
            let problem = problem.allowed(FORMS);
            found.0.push(match unknown.near {
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

fn policies(config: &Config, found: &mut Findings) {
    let stopping = &config.training.early_stopping;
    let key = "training.early_stopping";
    found.check(stopping.patience >= 1, &format!("{key}.patience"), stopping.patience, "at least 1");
    let delta = stopping.min_delta;
    found.check((0.0..1.0).contains(&delta), &format!("{key}.min_delta"), delta, "0 or more, below 1");
    let blind = config.training.eval_every == 0;
    let evaluates = "a run that is evaluated along the way: set `training.eval_every`";
    found.check(!(stopping.enabled && blind), &format!("{key}.enabled"), "true", evaluates);
    for (at, policy) in config.policies.iter().enumerate() {
        let key = |name: &str| format!("policies.{at}.{name}");
        found.condition(&key("when"), &policy.when);
        if let Some(clear) = &policy.clear {
            found.condition(&key("clear"), clear);
        }
        found.check(policy.hold >= 1, &key("for"), policy.hold, "at least 1");
        found.check(policy.max >= 1, &key("max"), policy.max, "at least 1");
        let again = config.policies[..at].iter().any(|other| other.name() == policy.name());
        found.check(!again, &key("name"), format!("`{}` again", policy.name()), "a name that no other policy has");
        let (conditions, reads) = reads(policy);
        let timed = conditions && policy.acts() && reads.iter().any(|name| signals::TIMED.contains(&name.as_str()));
        let may_only = "`report` for a signal that depends on the machine: a run is a function of its seed";
        found.check(!timed, &key("do"), "an action", may_only);
        let unseen = blind && reads.iter().any(|name| signals::EVALUATED.contains(&name.as_str()));
        found.check(!unseen, &key("when"), "about held-out scenarios", evaluates);
        found.check(!policy.directives.0.is_empty(), &key("do"), "empty", "at least one directive");
        for directive in &policy.directives.0 {
            found.directive(&key("do"), directive, config.supervision.deadlines.stall);
        }
    }
}

/// Whether the policy's conditions can be read, and the signals in them.
fn reads(policy: &Policy) -> (bool, Vec<String>) {
    match policy.rule(true) {
        Ok(rule) => {
            let conditions = [Some(&rule.when), rule.clear.as_ref()];
            let names = conditions.into_iter().flatten().flat_map(|condition| condition.signals()).map(str::to_owned);
            (true, names.collect())
        }
        Err(_) => (false, Vec::new()),
    }
}

fn supervision(supervision: &Supervision, found: &mut Findings) {
    let Supervision { max_live_episodes, attempts, restarts, backoff, deadlines } = supervision;
    found.check(*max_live_episodes >= 1, "supervision.max_live_episodes", max_live_episodes, "at least 1");
    found.check(*attempts >= 1, "supervision.attempts", attempts, "at least 1");
    found.positive("supervision.restarts.within", restarts.within);
    found.positive("supervision.backoff.min", backoff.min);
    let ordered = backoff.max >= backoff.min;
    found.check(
        ordered,
        "supervision.backoff.max",
        duration::text(backoff.max),
        format!("at least backoff.min = {}", duration::text(backoff.min)),
    );
    for (name, deadline) in [
        ("generate", deadlines.generate),
        ("environment", deadlines.environment),
        ("judge", deadlines.judge),
        ("load", deadlines.load),
        ("save", deadlines.save),
        ("thread", deadlines.thread),
        ("stall", deadlines.stall),
    ] {
        found.positive(&format!("supervision.deadlines.{name}"), deadline);
    }
}

pub(super) fn above_zero(number: f64) -> bool {
    number > 0.0 && number.is_finite()
}

fn at_least_zero(number: f64) -> bool {
    number >= 0.0 && number.is_finite()
}

pub(super) fn in_unit(number: f64) -> bool {
    number > 0.0 && number <= 1.0
}

/// What was found so far.
#[derive(Default)]
pub(super) struct Findings(Vec<Problem>);

impl Findings {
    pub(super) fn add(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    #[cfg(test)]
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.0
    }

    pub(super) fn check(&mut self, holds: bool, key: &str, found: impl Display, allowed: impl Into<String>) {
        if !holds {
            self.0.push(Problem::new(key, format!("`{key}` is {found}")).allowed(allowed));
        }
    }

    pub(super) fn positive(&mut self, key: &str, time: Duration) {
        self.check(!time.is_zero(), key, duration::text(time), "above 0");
    }

    fn condition(&mut self, key: &str, text: &str) {
        let Err(ConditionError { column, message, unknown }) = text.parse::<Condition>() else {
            return;
        };
        let problem = Problem::new(key, format!("`{key}`: {message}, in column {column} of `{text}`"));
        self.0.push(match unknown.as_deref().map(|name| nearest(name, signals::names())) {
            Some(Some(near)) => problem.help(format!("did you mean `{near}`?")),
            Some(None) => problem.allowed(quoted(&signals::names().collect::<Vec<_>>())),
            None => problem,
        });
    }

    fn directive(&mut self, key: &str, directive: &Directive, stall: Duration) {
        match directive {
            Directive::ScaleLr(scaling) | Directive::ScaleKl(scaling) | Directive::ScaleTemperature(scaling) => {
                let Scaling { by, floor, ceiling } = *scaling;
                self.check(above_zero(by), key, format!("to scale by {by}"), "a factor above 0");
                let (low, high) = (floor.unwrap_or(0.0), ceiling.unwrap_or(f64::MAX));
                self.check(
                    low >= 0.0 && low <= high,
                    key,
                    format!("between {low} and {high}"),
                    "0 <= floor <= ceiling",
                );
            }
            Directive::SetKl { to } => self.check(at_least_zero(*to), key, format!("to set_kl to {to}"), "0 or more"),
            Directive::Pause { seconds } => {
                let bounded = *seconds > 0.0 && *seconds < stall.as_secs_f64();
                let limit = format!("above 0 and below supervision.deadlines.stall = {}", duration::text(stall));
                self.check(bounded, key, format!("to pause for {seconds} seconds"), limit);
            }
            Directive::Stop { reason } => self.check(!reason.is_empty(), key, "to stop without a reason", "a reason"),
            Directive::Report
            | Directive::SkipStep
            | Directive::TightenStaleness
            | Directive::Rewind
            | Directive::Evaluate => {}
        }
    }

    fn version(&mut self, version: u32) {
        self.check(version == 1, "version", version, "1, the only one this program knows");
    }

    fn unknown<S: AsRef<str>>(&mut self, key: &str, name: &str, allowed: &[S]) {
        let problem = Problem::new(key, format!("`{key}` cannot be `{name}`")).allowed(quoted(allowed));
        self.0.push(match nearest(name, allowed.iter().map(AsRef::as_ref)) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem,
        });
    }

    /// What `algorithm` has against one of the sections of settings.
    fn section<S: Section>(&mut self, algorithm: Algorithm, settings: &S) {
        self.sentences(&format!("training.{}", S::NAME), algorithm.objections(settings));
    }

    /// Sentences about the keys of `section`, each beginning with the key it is about.
    fn sentences(&mut self, section: &str, sentences: Vec<String>) {
        self.0.extend(sentences.into_iter().map(|sentence| {
            let (name, rest) = sentence.split_once(' ').unwrap_or((&sentence, ""));
            let key = format!("{section}.{name}");
            Problem::new(&key, format!("`{key}` {rest}"))
        }));
    }

    /// A domain that cannot be read is one problem, however many of its rungs are asked for.
    fn domain(&mut self, key: &str, rungs: Result<&[String], &String>) {
        if let Err(reason) = rungs {
            let help = format!("`{key}` names a domain's YAML file, such as `domains/support_desk.yaml`");
            self.0.push(Problem::new(key, format!("`{key}`: {reason}")).help(help));
        }
    }

    fn rung(&mut self, key: &str, name: &str, rungs: Result<&[String], &String>) {
        if let Ok(rungs) = rungs
            && !rungs.iter().any(|rung| rung == name)
        {
            self.unknown(key, name, rungs);
        }
    }
}
