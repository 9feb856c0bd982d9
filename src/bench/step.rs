//! How fast the learner learns.

use anyhow::{Result, ensure};
use serde_json::json;
use stateset_domain::{Group, GroupId, PolicyVersion, Purpose, StepReport, Trajectory};
use stateset_models::{HostWeights, LoraConfig, ModelConfig};
use stateset_training::{Demand, LearnerSettings, MemoryPlan};

use super::measure::{Listener, Progress, Repeats};
use super::report::{Measured, Report, Work};
use super::rollout::{settings, title};
use super::{Refused, Shape, Workload};
use crate::config::{Config, Lora};
use crate::device::{Device, Place};
use crate::memory::demand;
use crate::runtime::learner_settings;

/// How the learner is to learn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Learning {
    /// Weight of KL from the reference; at 0 that is asked about the first tokens only, for KL to be seen.
    pub(crate) beta: f64,
    /// Tokens of one forward pass.
    pub(crate) micro_batch_tokens: usize,
    /// Rank of the adapter that is learnt in place of the weights, if one is.
    pub(crate) lora: Option<usize>,
    /// Where.
    pub(crate) device: Device,
}

impl Default for Learning {
    fn default() -> Self {
        let micro_batch_tokens = Config::default().training.micro_batch_tokens;
        Self { beta: 0.0, micro_batch_tokens, lora: None, device: Device::Cpu }
    }
}

impl Learning {
    /// GRPO, as a run has it; only that no step can be taken back, which would cost a copy of the weights.
    pub(super) fn settings(self) -> LearnerSettings {
        LearnerSettings { undoable: false, ..learner_settings(&self.config()) }
    }

    /// Where a decoder of `config` learns.
    pub(super) fn place(self, config: &ModelConfig) -> Result<Place> {
        Ok(self.device.settle(config, Some(&self.settings()), false)?)
    }

    /// The adapter that is learnt, if one is.
    pub(super) fn adapter(self) -> Option<LoraConfig> {
        self.config().training.lora.map(|lora| lora.adapter())
    }

    fn config(self) -> Config {
        let mut config = Config::default();
        config.training.grpo.kl_coef = self.beta;
        config.training.micro_batch_tokens = self.micro_batch_tokens;
        config.training.lora = self.lora.map(|rank| Lora { rank, alpha: 2.0 * rank as f64, ..Lora::default() });
        config.agent.sampling.temperature = 1.0;
        config
    }

    /// What such a step takes of memory.
    fn plan(self, workload: &Workload, weights: &HostWeights) -> Result<MemoryPlan> {
        let demand = Demand {
            undoable: false,
            saves: false,
            micro_batch_tokens: self.micro_batch_tokens.min(workload.tokens()),
            serving: None,
            ..demand(&self.config(), weights)?
        };
        Ok(demand.plan(&weights.config))
    }

    /// Operations of a step over `workload`: a gradient costs twice its forward pass, or once where weights are frozen (what an adapter adds
    /// is not counted); a reference one forward pass more.
    pub(super) fn operations(self, workload: &Workload, config: &ModelConfig) -> f64 {
        let gradient = if self.lora.is_some() { 1.0 } else { 2.0 };
        let passes = 1.0 + gradient + if self.beta > 0.0 { 1.0 } else { 0.0 };
        passes * workload.scoring().forward(config)
    }
}

/// Measures one optimizer step of a decoder of `shape` over `workload`.
///
/// # Errors
/// If the shape cannot be used, or the workload does not fit it.
pub(crate) fn step(
    shape: &Shape,
    workload: &Workload,
    learning: Learning,
    repeats: Repeats,
    listener: Listener<'_>,
) -> Result<Report> {
    let config = shape.config()?;
    workload.check(&config)?;
    if workload.sequences < 2 {
        let told = "--sequences must be at least 2: the reward of an episode alone has nothing to be compared with";
        return Err(Refused(told.into()).into());
    }
    listener(Progress::Preparing);
    let model = shape.model(&config, workload.seed)?;
    let planned_bytes = learning.plan(workload, &model.weights)?.total();
    let place = learning.place(&config)?;
    let mut learner = place.learner(model, learning.settings())?;
    let laps = repeats.run(&["step"], listener, |repetition, watch| {
        let version = PolicyVersion(repetition as u64);
        let mut conversations = workload.finished(repetition, config.vocab_size, version);
        let rewards = |(i, conversation): (usize, &mut Trajectory)| conversation.reward = Some((i % 2) as f32);
        conversations.iter_mut().enumerate().for_each(rewards);
        let groups = groups(conversations, workload.group);
        watch.skip();
        let report = learner.step(&groups)?;
        watch.phase();
        check(&report, workload)
    })?;
    let mut settings = settings(shape, workload);
    settings.insert("beta".into(), json!(learning.beta));
    settings.insert("micro_batch_tokens".into(), json!(learning.micro_batch_tokens));
    settings.insert("planned_bytes".into(), json!(planned_bytes));
    settings.insert("lora".into(), json!(learning.lora));
    let measured = Measured {
        bench: "step",
        title: title(shape, &config, workload),
        settings,
        tokens: workload.tokens(),
        counted: "of conversations",
        work: Work::Products(learning.operations(workload, &config)),
        digest: learner.snapshot()?.digest().to_string(),
    };
    Report::beside_the_roof(measured, place, laps, listener)
}

/// Conversations in groups of those that share a prompt. Where none do, all are one group: rewards are compared all the same.
pub(super) fn groups(conversations: Vec<Trajectory>, size: usize) -> Vec<Group> {
    let size = if size == 1 { conversations.len() } else { size };
    let step = conversations.first().map_or(0, |it| it.episode.group.step);
    let mut conversations = conversations.into_iter();
    let mut groups = Vec::new();
    while conversations.len() > 0 {
        let id = GroupId { purpose: Purpose::Train, step, index: groups.len() as u32 };
        groups.push(Group { id, members: conversations.by_ref().take(size).collect() });
    }
    groups
}

/// Whether every token was learned from, so that what was measured is what was counted.
pub(super) fn check(report: &StepReport, workload: &Workload) -> Result<()> {
    ensure!(!report.skipped, "the step was skipped: its loss is {}, its gradient {}", report.loss, report.grad_norm);
    let (seen, all) = (report.train_tokens, workload.tokens());
    ensure!(seen == all as u64, "only {seen} of {all} tokens were learned from");
    Ok(())
}
