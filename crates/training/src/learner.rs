//! The learner: groups in, a better policy out.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use stateset_algorithms::{Adapted, Schedule, Staleness};
use stateset_domain::{
    Adjustments, Artifact, Group, Learner, LearnerError, NamedTensor, PolicySnapshot, PolicyVersion, StepReport, Stream,
};
use stateset_models::{Autograd, HostAdapter, LoraConfig, Pretrained};

use crate::batch::Batch;
use crate::critic::{Critic, CriticState};
use crate::device::DevicePolicy;
use crate::offline::Offline;
use crate::variables::{read, write};
use crate::{Objective, Optimizer, OptimizerSettings, Variable};

/// Everything a learner is told.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnerSettings {
    /// What the policy is optimised for.
    pub objective: Objective,
    /// Optimizer steps of the whole run; the schedule needs it.
    pub total_steps: u64,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Its course.
    pub schedule: Schedule,
    /// The optimizer's constants.
    pub optimizer: OptimizerSettings,
    /// What tokens count that an older policy sampled.
    pub staleness: Staleness,
    /// Temperature the episodes were sampled at.
    pub temperature: f32,
    /// Tokens of one forward pass, what several conversations begin with counted once. Changes memory, not the gradient.
    pub micro_batch_tokens: usize,
    /// Whether only the input of each block is kept for the backward pass, and the block run again. Changes memory and time, not the gradient.
    pub activation_checkpointing: bool,
    /// The adapter that is learnt in place of the weights, if one is.
    pub adapter: Option<Adaptation>,
    /// Whether a step can be taken back. It costs a copy of weights and optimizer.
    pub undoable: bool,
}

/// An adapter, and what it begins as.
#[derive(Debug, Clone, PartialEq)]
pub struct Adaptation {
    /// How the decoder is adapted.
    pub config: LoraConfig,
    /// The name of the decoder, for whoever finds the adapter.
    pub base: String,
    /// What its factors are drawn from.
    pub stream: Stream,
}

/// Trains a decoder on groups of episodes, or on what is given in their place.
pub struct PolicyLearner {
    pub(crate) base: Pretrained,
    pub(crate) base_digest: OnceLock<String>,
    /// What it learns from in place of episodes, if that is given.
    pub(crate) offline: Option<Offline>,
    pub(crate) model: Autograd,
    pub(crate) critic: Option<Critic>,
    pub(crate) reference: Autograd,
    /// What holds the policy in their place, if something does: `model` learns nothing then.
    device: Option<Mutex<Box<dyn DevicePolicy>>>,
    /// What the optimizer moves: the model, and a critic's head on it.
    pub(crate) variables: Vec<Variable>,
    pub(crate) optimizer: Optimizer,
    /// As made; the temperature and the objective's coefficients as adjusted and adapted since.
    pub(crate) settings: LearnerSettings,
    pub(crate) made: Made,
    lr_scale: f64,
    /// The weight of the KL term as made or adjusted, before what [`Adapted`] makes of it.
    pub(crate) kl_coef: f64,
    pub(crate) adapted: Adapted,
    /// What there was before the last step, if it can be taken back.
    pub(crate) before: Option<Standing>,
    pub(crate) step: u64,
    /// Whether the next gradient is to be no number.
    pub(crate) spoilt: bool,
}

/// What those settings were made as that change.
pub(crate) struct Made {
    temperature: f32,
    kl_coef: f64,
    pub(crate) entropy_coef: f64,
}

/// What a step moves.
pub(crate) struct Standing {
    values: Vec<Vec<f32>>,
    optimizer: Optimizer,
    critic: Option<CriticState>,
    adapted: Adapted,
}

pub(crate) fn compute(error: candle_core::Error) -> LearnerError {
    LearnerError::Compute(error.to_string())
}

pub(crate) fn state(error: impl std::fmt::Display) -> LearnerError {
    LearnerError::State(error.to_string())
}

impl LearnerSettings {
    /// What they ask for that is not done on a device other than the CPU, and its verb.
    #[must_use]
    pub fn only_on_the_cpu(&self) -> Option<&'static str> {
        let reasons = [
            (self.objective.actor_critic().is_some(), "a critic is"),
            (self.objective.trust_region().is_some(), "a trust region is"),
            (self.adapter.is_some(), "an adapter is"),
            (self.activation_checkpointing, "activation checkpointing is"),
        ];
        reasons.iter().find(|(there, _)| *there).map(|(_, reason)| *reason)
    }
}

impl PolicyLearner {
    /// Starts from `base`, which is also the frozen reference, and what an adapter is learnt on. It is shared, not copied.
    ///
    /// # Errors
    /// [`LearnerError::Compute`] if a tensor cannot be made; [`LearnerError::State`] if the adapter does not fit.
    pub fn new(base: Pretrained, settings: LearnerSettings) -> Result<Self, LearnerError> {
        let model = match &settings.adapter {
            None => Autograd::new(&base.weights),
            Some(Adaptation { config, stream, .. }) => {
                let fresh = HostAdapter::fresh(&base.weights.config, config.clone(), *stream).map_err(state)?;
                Autograd::adapted(&base.weights, fresh)
            }
        };
        let model = model.map_err(compute)?.checkpointing(settings.activation_checkpointing);
        Self::with(base, model, settings)
    }

    fn with(base: Pretrained, model: Autograd, settings: LearnerSettings) -> Result<Self, LearnerError> {
        let reference = Autograd::frozen(&base.weights).like(&model);
        let critic = settings
            .objective
            .actor_critic()
            .map(|it| Critic::new(&model, &base.weights, it.critic.network, it.critic_is_apart(), &settings.optimizer));
        let critic = critic.transpose().map_err(compute)?;
        let mut variables = model.learnt();
        variables.extend(critic.iter().flat_map(Critic::shared_variables).cloned());
        let optimizer = Optimizer::new(&variables, settings.optimizer.clone());
        let (temperature, objective) = (settings.temperature, &settings.objective);
        let made = Made { temperature, kl_coef: objective.kl_coef(), entropy_coef: objective.entropy_coef() };
        Ok(Self {
            base,
            base_digest: OnceLock::new(),
            offline: None,
            model,
            critic,
            reference,
            device: None,
            variables,
            optimizer,
            settings,
            kl_coef: made.kl_coef,
            made,
            lr_scale: 1.0,
            adapted: Adapted::default(),
            before: None,
            step: 0,
            spoilt: false,
        })
    }

    /// Starts from `base`, which `device` holds already, and leaves all arithmetic on weights to it.
    ///
    /// # Errors
    /// [`LearnerError::State`] if `settings` ask for something that is only done on the CPU.
    pub fn on(
        device: Box<dyn DevicePolicy>,
        base: Pretrained,
        settings: LearnerSettings,
    ) -> Result<Self, LearnerError> {
        if let Some(what) = settings.only_on_the_cpu() {
            return Err(state(format!("{what} only done on the CPU")));
        }
        let model = Autograd::frozen(&base.weights);
        Ok(Self { device: Some(Mutex::new(device)), ..Self::with(base, model, settings)? })
    }

    /// What holds the policy in place of `model`.
    pub(crate) fn device(&self) -> Option<MutexGuard<'_, Box<dyn DevicePolicy>>> {
        self.device.as_ref().map(|device| device.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Updates of the policy so far.
    pub(crate) fn updates(&self) -> u64 {
        self.device().map_or_else(|| self.optimizer.updates(), |device| device.updates())
    }

    fn train(&mut self, groups: &[Group]) -> Result<StepReport, LearnerError> {
        let weighed = self.weigh();
        let mut batch = match self.given()? {
            Some(batch) => batch,
            // The step is counted before it is taken.
            None => self.settings.objective.batch(groups, PolicyVersion(self.step - 1))?,
        };
        let LearnerSettings { learning_rate, schedule, total_steps, .. } = &self.settings;
        let course = self.lr_scale * schedule.multiplier(self.step, *total_steps);
        let frac_zero_std_groups = batch.frac_zero_std_groups;
        let mut report = StepReport { lr: learning_rate * course, frac_zero_std_groups, ..ages(&batch, weighed) };
        // Only an update that is not the first can fail after the weights have moved.
        let objective = &self.settings.objective;
        let several = objective.epochs() * objective.mini_batches() > 1;
        self.before = (self.settings.undoable || several).then(|| self.standing()).transpose().map_err(compute)?;
        let firsts = self.look_first(&batch, &mut report).map_err(compute)?;
        batch.credit(&self.settings.objective, &firsts);
        match self.settings.objective.trust_region().cloned() {
            Some(trpo) => self.step_naturally(&trpo, &batch, firsts, course, &mut report).map_err(compute)?,
            None => self.descend(&batch, firsts, course, &mut report).map_err(compute)?,
        }
        if report.skipped {
            self.take_back()?;
        } else {
            self.adapt(&report, batch.examples.len());
        }
        if self.offline.is_some() {
            // Estimated on tokens of others it would be something else.
            report.kl = f64::NAN;
        }
        if !self.settings.undoable {
            self.forget();
        }
        Ok(report)
    }

    /// Everything that a step moves.
    fn standing(&self) -> candle_core::Result<Standing> {
        let critic = self.critic.as_ref().map(Critic::state).transpose()?;
        if let Some(mut device) = self.device() {
            device.remember()?;
        }
        let (values, optimizer) = (read(&self.variables)?, self.optimizer.clone());
        Ok(Standing { values, optimizer, critic, adapted: self.adapted })
    }

    /// There is no way back from here.
    pub(crate) fn forget(&mut self) {
        self.before = None;
        if let Some(mut device) = self.device() {
            device.forget();
        }
    }

    /// The policy's tensors.
    pub(crate) fn tensors(&self) -> candle_core::Result<Vec<NamedTensor>> {
        self.device().map_or_else(|| self.model.tensors(), |device| device.tensors())
    }

    fn take_back(&mut self) -> Result<(), LearnerError> {
        let Some(Standing { values, optimizer, critic, adapted }) = self.before.take() else { return Ok(()) };
        if let Some(mut device) = self.device() {
            device.take_back().map_err(compute)?;
        }
        write(&self.variables, &values).map_err(compute)?;
        (self.optimizer, self.adapted) = (optimizer, adapted);
        if let (Some(own), Some(before)) = (&mut self.critic, critic) {
            own.set_state(before).map_err(compute)?;
        }
        Ok(())
    }
}

/// `report`, which also says how old the batch's tokens are.
fn ages(batch: &Batch, report: StepReport) -> StepReport {
    let ages = || batch.examples.iter().flat_map(|example| &example.ages);
    let count = ages().count().max(1);
    StepReport {
        staleness_mean: ages().sum::<u64>() as f64 / count as f64,
        staleness_max: ages().copied().max().unwrap_or(0),
        ..report
    }
}

impl Learner for PolicyLearner {
    fn step(&mut self, groups: &[Group]) -> Result<StepReport, LearnerError> {
        self.step += 1;
        // A scope runs its body on a pool worker, which spares every kernel a wake-up from outside.
        rayon::scope(|_| self.train(groups))
    }

    fn undo(&mut self) -> Result<(), LearnerError> {
        self.take_back()
    }

    fn adjust(&mut self, adjustments: &Adjustments) {
        self.lr_scale = adjustments.lr_scale;
        // What is given was not sampled at any temperature of ours.
        let warmer = adjustments.temperature.filter(|_| self.offline.is_none());
        self.settings.temperature = warmer.unwrap_or(self.made.temperature);
        self.kl_coef = adjustments.kl_coef.unwrap_or(self.made.kl_coef);
    }

    fn spoil_gradient(&mut self) {
        self.spoilt = true;
    }

    fn snapshot(&self) -> Result<PolicySnapshot, LearnerError> {
        let resident = self.device().map(|device| device.resident()).transpose().map_err(compute)?;
        Ok(PolicySnapshot::new(PolicyVersion(self.step), self.tensors().map_err(compute)?).beside(resident))
    }

    fn save(&self) -> Result<Vec<Artifact>, LearnerError> {
        self.saved()
    }

    fn restore(&mut self, artifacts: &[Artifact]) -> Result<(), LearnerError> {
        self.restored(artifacts)
    }
}
