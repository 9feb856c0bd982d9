//! Cloning demonstrations: the cross-entropy steps that make the built-in policy.

use candle_core::Result;
use stateset_algorithms::Schedule;
use stateset_domain::NamedTensor;
use stateset_models::{Autograd, HostWeights, PackedBatch};

use crate::{Demonstration, Gradients, Optimizer, OptimizerSettings, Variable, micro_batches};

/// How demonstrations are cloned.
#[derive(Debug, Clone, PartialEq)]
pub struct SupervisedSettings {
    /// Optimizer steps.
    pub steps: u64,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Its course.
    pub schedule: Schedule,
    /// The optimizer's constants.
    pub optimizer: OptimizerSettings,
    /// Weight of a token that the assistant did not say, against 1 for one it did: predicting users teaches words.
    pub context_weight: f64,
    /// Tokens of one forward pass.
    pub micro_batch_tokens: usize,
}

/// What one step measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SupervisedReport {
    /// Weighted cross-entropy, nats per assistant token.
    pub loss: f64,
    /// Gradient norm before clipping.
    pub grad_norm: f64,
    /// Tokens trained on.
    pub tokens: usize,
}

/// A model being cloned from demonstrations.
pub struct Supervised {
    model: Autograd,
    variables: Vec<Variable>,
    optimizer: Optimizer,
    settings: SupervisedSettings,
    step: u64,
}

impl Supervised {
    /// Starts from `weights`.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn new(weights: &HostWeights, settings: SupervisedSettings) -> Result<Self> {
        let model = Autograd::new(weights)?;
        let variables = model.learnt();
        let optimizer = Optimizer::new(&variables, settings.optimizer.clone());
        Ok(Self { model, variables, optimizer, settings, step: 0 })
    }

    /// The weights as they stand, by their Hugging Face names.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn tensors(&self) -> Result<Vec<NamedTensor>> {
        self.model.tensors()
    }

    /// One optimizer step on `batch`.
    ///
    /// # Errors
    /// If a demonstration is longer than the context, or the arithmetic fails.
    pub fn step(&mut self, batch: &[Demonstration]) -> Result<SupervisedReport> {
        let spoken: usize = batch.iter().map(Demonstration::spoken_tokens).sum();
        let lengths: Vec<usize> = batch.iter().map(|demo| demo.tokens.len()).collect();
        let (mut gradients, mut loss) = (Gradients::zeros(&self.variables), 0.0);
        for run in micro_batches(&lengths, self.settings.micro_batch_tokens) {
            let (mut packed, mut weights) = (PackedBatch::default(), Vec::new());
            for demo in &batch[run] {
                packed.push(&demo.tokens, &vec![true; demo.tokens.len()]);
                let weigh = |spoken: &bool| if *spoken { 1.0 } else { self.settings.context_weight };
                weights.extend(demo.spoken.iter().skip(1).map(|said| (-weigh(said) / spoken.max(1) as f64) as f32));
            }
            let mut recording = self.model.record(&packed)?;
            let [log_probs, _] = recording.score(1.0)?;
            loss += log_probs.iter().zip(&weights).map(|(it, weight)| f64::from(it * weight)).sum::<f64>();
            recording.pull_scores((&weights, &vec![0.0; weights.len()]), gradients.sums())?;
            recording.backward(gradients.sums())?;
        }
        self.step += 1;
        let lr = self.settings.learning_rate * self.settings.schedule.multiplier(self.step, self.settings.steps);
        let grad_norm = gradients.norm();
        self.optimizer.update(&self.variables, &gradients, grad_norm, lr)?;
        Ok(SupervisedReport { loss, grad_norm, tokens: lengths.iter().sum() })
    }
}
