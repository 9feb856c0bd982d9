//! The learner: groups in, a better policy out.
//!
//! Within an optimizer step the weights do not move, so the first epoch's own log-probabilities *are* the old policy's: the ratio is
//! exactly 1 and no extra pass is needed. The sampler's log-probabilities are compared with them and the largest gap is reported.
//! Later epochs reuse what the first one found.

use std::ops::Range;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use stateset_algorithms::{Evaluation, Schedule, Sequence, Staleness};
use stateset_domain::{Adjustments, Artifact, Group, Learner, LearnerError, PolicySnapshot, PolicyVersion, StepReport};
use stateset_models::{Autograd, HostWeights, Pretrained, read_tensors, write_tensors};

use crate::batch::{Batch, pack};
use crate::objective::Counts;
use crate::{Example, Gradients, Objective, Optimizer, OptimizerSettings, micro_batches};

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
    /// Tokens of one forward pass. Changes memory, not the gradient.
    pub micro_batch_tokens: usize,
    /// Whether a step can be taken back. It costs a copy of weights and optimizer.
    pub undoable: bool,
}

/// Trains a decoder on groups of episodes.
pub struct PolicyLearner {
    base: Pretrained,
    model: Autograd,
    reference: Autograd,
    optimizer: Optimizer,
    /// As made; the temperature and the weight of the KL term as adjusted since.
    settings: LearnerSettings,
    /// What the temperature and the weight of the KL term were made as.
    made: (f32, f64),
    lr_scale: f64,
    /// Weights and optimizer before the last step, if it can be taken back.
    before: Option<(HostWeights, Optimizer)>,
    step: u64,
    /// Whether the next gradient is to be no number.
    spoilt: bool,
}

/// The learner's own line in a checkpoint.
#[derive(Serialize, Deserialize)]
struct State {
    step: u64,
    optimizer_updates: u64,
}

const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "learner.json";

fn compute(error: candle_core::Error) -> LearnerError {
    LearnerError::Compute(error.to_string())
}

fn state(error: impl std::fmt::Display) -> LearnerError {
    LearnerError::State(error.to_string())
}

/// What later epochs need of the first one, one list per example; the reference's for as many examples as it was asked about.
#[derive(Default)]
struct FirstEpoch {
    old: Vec<Vec<f64>>,
    /// What each token counts; `None` if all count in full.
    weights: Vec<Option<Vec<f64>>>,
    reference: Vec<Vec<f64>>,
}

/// Sums over one epoch.
#[derive(Default)]
struct Epoch {
    evaluation: Evaluation,
    entropy_sum: f64,
    /// Tokens whose KL from the reference is in the evaluation's sum.
    compared: usize,
}

impl PolicyLearner {
    /// Starts from `base`, which is also the frozen reference.
    ///
    /// # Errors
    /// [`LearnerError::Compute`] if a tensor cannot be made.
    pub fn new(base: Pretrained, settings: LearnerSettings) -> Result<Self, LearnerError> {
        let model = Autograd::new(&base.weights).map_err(compute)?;
        let reference = Autograd::new(&base.weights).map_err(compute)?;
        let optimizer = Optimizer::new(&model, settings.optimizer.clone());
        let made = (settings.temperature, settings.objective.kl_coef());
        Ok(Self {
            base,
            model,
            reference,
            optimizer,
            settings,
            made,
            lr_scale: 1.0,
            before: None,
            step: 0,
            spoilt: false,
        })
    }

    /// The examples to compute. Unless something else pulls at it, one without advantage has no gradient at all: it is counted, and not
    /// computed, unless there are no others; then the first few are, so that entropy and KL are measured in every step.
    fn computed<'a>(&self, batch: &'a Batch) -> Vec<&'a Example> {
        let scored = batch.examples.iter().filter(|example| example.scored_tokens() > 0);
        let all = self.settings.objective.moves_all();
        let teaching: Vec<&Example> =
            scored.clone().filter(|example| all || example.advantages.iter().any(|it| *it != 0.0)).collect();
        if !teaching.is_empty() {
            return teaching;
        }
        let scored: Vec<&Example> = scored.collect();
        let first = self.micro_batches(&scored).into_iter().next().unwrap_or(0..0);
        scored[first].to_vec()
    }

    /// Examples that belong together are never apart.
    fn micro_batches(&self, examples: &[&Example]) -> Vec<Range<usize>> {
        let together = self.settings.objective.together();
        let lengths = examples.chunks(together).map(|part| part.iter().map(|example| example.tokens.len()).sum());
        let runs = micro_batches(&lengths.collect::<Vec<_>>(), self.settings.micro_batch_tokens);
        runs.into_iter().map(|run| run.start * together..(run.end * together).min(examples.len())).collect()
    }

    fn train(&mut self, groups: &[Group]) -> Result<StepReport, LearnerError> {
        // The step is counted before it is taken.
        let batch = self.settings.objective.batch(groups, PolicyVersion(self.step - 1))?;
        let counts = self.settings.objective.count(&batch.examples);
        let examples = self.computed(&batch);
        let LearnerSettings { learning_rate, schedule, total_steps, .. } = &self.settings;
        let lr = learning_rate * self.lr_scale * schedule.multiplier(self.step, *total_steps);
        let mut report = StepReport { lr, frac_zero_std_groups: batch.frac_zero_std_groups, ..ages(&batch) };
        // Only a later epoch can fail after the weights have moved.
        let kept = self.settings.undoable || self.settings.objective.epochs() > 1;
        let before = kept.then(|| self.model.weights().map(|w| (w, self.optimizer.clone())));
        self.before = before.transpose().map_err(compute)?;
        let mut first = FirstEpoch::default();
        for epoch in 0..self.settings.objective.epochs() {
            let mut gradients = Gradients::zeros(&self.model);
            let found = self.epoch(&examples, &counts, &mut first, &mut gradients).map_err(compute)?;
            if std::mem::take(&mut self.spoilt) {
                gradients.spoil();
            }
            let norm = gradients.norm();
            report.train_tokens += examples.iter().map(|example| example.tokens.len() as u64).sum::<u64>();
            if !(found.evaluation.loss.is_finite() && norm.is_finite()) {
                self.take_back()?;
                return Ok(StepReport { loss: found.evaluation.loss, grad_norm: norm, skipped: true, ..report });
            }
            if epoch == 0 {
                report.log_prob_gap = gap(&examples, &first.old);
                let weights = || first.weights.iter().flatten().flatten();
                report.tokens_dropped = weights().filter(|weight| **weight == 0.0).count() as u64;
                report.tokens_down_weighted =
                    weights().filter(|weight| **weight > 0.0 && **weight < 1.0).count() as u64;
                report.loss = found.evaluation.loss;
                report.grad_norm = norm;
            }
            report.kl = found.evaluation.kl_sum / found.compared.max(1) as f64;
            report.clip_fraction = found.evaluation.clip_fraction();
            report.entropy = found.entropy_sum / found.evaluation.tokens.max(1) as f64;
            self.optimizer.update(&self.model, &gradients, norm, lr).map_err(compute)?;
        }
        self.before = self.before.take().filter(|_| self.settings.undoable);
        Ok(report)
    }

    fn take_back(&mut self) -> Result<(), LearnerError> {
        if let Some((weights, optimizer)) = self.before.take() {
            self.model = Autograd::new(&weights).map_err(compute)?;
            self.optimizer = optimizer;
        }
        Ok(())
    }

    fn epoch(
        &self,
        examples: &[&Example],
        counts: &Counts,
        first: &mut FirstEpoch,
        gradients: &mut Gradients,
    ) -> candle_core::Result<Epoch> {
        let mut sum = Epoch::default();
        for run in self.micro_batches(examples) {
            let part = &examples[run.clone()];
            let packed = pack(part.iter().copied());
            let found = self.model.log_probs(&packed, self.settings.temperature)?;
            let new = per_example(part, &found.get(0)?)?;
            if first.old.len() < run.end {
                let weigh =
                    |(old, it): (&Vec<f64>, &&Example)| self.settings.staleness.weights(old, &it.sampler, &it.ages);
                first.weights.extend(new.iter().zip(part).map(weigh));
                first.old.extend(new.iter().cloned());
                // Where KL is only watched, one micro-batch is enough to see it.
                if self.settings.objective.compares() || run.start == 0 {
                    let found = self.reference.log_probs(&packed, self.settings.temperature)?.get(0)?;
                    first.reference.extend(per_example(part, &found)?);
                }
            }
            let scored = vec![true; part.iter().map(|example| example.scored_tokens()).max().unwrap_or(0)];
            let sequence = |i: usize| Sequence {
                new: &new[i],
                old: &first.old[run.start + i],
                reference: first.reference.get(run.start + i).map(Vec::as_slice),
                mask: &scored[..new[i].len()],
                advantages: &part[i].advantages,
                weights: first.weights[run.start + i].as_deref(),
            };
            let sequences: Vec<Sequence<'_>> = (0..part.len()).map(sequence).collect();
            sum.compared += sequences.iter().filter(|s| s.reference.is_some()).map(|s| s.new.len()).sum::<usize>();
            let mut slopes = vec![0.0; packed.targets.len()];
            sum.evaluation += self.settings.objective.evaluate(&sequences, counts, &mut slopes);
            sum.entropy_sum += found.get(1)?.to_vec1::<f32>()?.iter().map(|h| f64::from(*h)).sum::<f64>();
            gradients.add(&self.model, &slope(&found, &slopes)?.backward()?)?;
        }
        Ok(sum)
    }
}

/// A scalar whose gradient with respect to the log-probabilities is `slopes`.
fn slope(found: &Tensor, slopes: &[f64]) -> candle_core::Result<Tensor> {
    let slopes: Vec<f32> = slopes.iter().map(|slope| *slope as f32).collect();
    (found.get(0)? * Tensor::from_slice(&slopes, slopes.len(), &Device::Cpu)?)?.sum_all()
}

fn per_example(examples: &[&Example], log_probs: &Tensor) -> candle_core::Result<Vec<Vec<f64>>> {
    let mut all = log_probs.to_vec1::<f32>()?.into_iter().map(f64::from);
    Ok(examples.iter().map(|example| all.by_ref().take(example.scored_tokens()).collect()).collect())
}

/// A report that says how old the batch's tokens are, and nothing else.
fn ages(batch: &Batch) -> StepReport {
    let ages = || batch.examples.iter().flat_map(|example| &example.ages);
    let count = ages().count().max(1);
    StepReport {
        staleness_mean: ages().sum::<u64>() as f64 / count as f64,
        staleness_max: ages().copied().max().unwrap_or(0),
        ..StepReport::default()
    }
}

/// The largest gap between sampler and trainer, over tokens that the very policy sampled which learns from them.
fn gap(examples: &[&Example], trainer: &[Vec<f64>]) -> f64 {
    let tokens = |(example, trainer): (&&Example, &Vec<f64>)| {
        let gap = |t: usize| if example.ages[t] == 0 { (example.sampler[t] - trainer[t]).abs() } else { 0.0 };
        (0..trainer.len()).map(gap).fold(0.0, f64::max)
    };
    examples.iter().zip(trainer).map(tokens).fold(0.0, f64::max)
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
        let (temperature, kl_coef) = self.made;
        self.lr_scale = adjustments.lr_scale;
        self.settings.temperature = adjustments.temperature.unwrap_or(temperature);
        self.settings.objective.set_kl_coef(adjustments.kl_coef.unwrap_or(kl_coef));
    }

    fn spoil_gradient(&mut self) {
        self.spoilt = true;
    }

    fn snapshot(&self) -> Result<PolicySnapshot, LearnerError> {
        let weights = self.model.weights().map_err(compute)?;
        Ok(PolicySnapshot::new(PolicyVersion(self.step), weights.to_tensors()))
    }

    fn save(&self) -> Result<Vec<Artifact>, LearnerError> {
        let mut files = self.base.to_files(&self.model.weights().map_err(compute)?).map_err(state)?;
        let bytes = write_tensors(&self.optimizer.to_tensors()).map_err(state)?;
        files.push(Artifact { name: OPTIMIZER.into(), bytes });
        let own = State { step: self.step, optimizer_updates: self.optimizer.updates() };
        files.push(Artifact { name: STATE.into(), bytes: serde_json::to_vec_pretty(&own).map_err(state)? });
        Ok(files)
    }

    fn restore(&mut self, artifacts: &[Artifact]) -> Result<(), LearnerError> {
        let file = |name: &str| {
            let found = artifacts.iter().find(|artifact| artifact.name == name);
            found.map(|artifact| artifact.bytes.as_slice()).ok_or_else(|| state(format!("{name} is missing")))
        };
        let saved: State = serde_json::from_slice(file(STATE)?).map_err(state)?;
        let averages = read_tensors(file(OPTIMIZER)?).map_err(state)?;
        let model = Pretrained::from_files(artifacts.to_vec()).map_err(state)?;
        if model.weights.config != self.base.weights.config {
            return Err(state("config.json describes another model"));
        }
        self.model = Autograd::new(&model.weights).map_err(compute)?;
        self.optimizer.restore(&averages, saved.optimizer_updates)?;
        self.before = None;
        self.step = saved.step;
        Ok(())
    }
}
