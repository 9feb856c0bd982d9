//! AdamW or RMSProp with global-norm clipping, decay on matrices only.

use candle_core::Result;
use serde::{Deserialize, Serialize};
use stateset_domain::{LearnerError, NamedTensor};
use stateset_kernels::cpu::{AdamW, adamw};

use crate::{Gradients, Variable};

/// What an optimizer does with a gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Its mean over the root of its squares' mean, both corrected for having begun at 0 (arXiv:1711.05101).
    #[default]
    AdamW,
    /// The gradient over the root of its squares' mean, as it is (Tieleman & Hinton 2012, Lecture 6.5; torch's).
    RmsProp,
}

/// Constants of the optimizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerSettings {
    /// What it does with the gradient.
    pub kind: OptimizerKind,
    /// Decay rates of the averages of gradient and squared gradient. RMSProp has the second only.
    pub betas: (f64, f64),
    /// Keeps the division finite.
    pub epsilon: f64,
    /// Decoupled weight decay, on matrices only.
    pub weight_decay: f64,
    /// Gradients longer than this are scaled down to it.
    pub max_grad_norm: f64,
}

impl Default for OptimizerSettings {
    fn default() -> Self {
        Self { kind: OptimizerKind::AdamW, betas: (0.9, 0.999), epsilon: 1e-8, weight_decay: 0.0, max_grad_norm: 1.0 }
    }
}

/// Averages of the gradient and of its square, of one weight.
type Averages<'a> = (&'a [f32], &'a [f32]);

/// The optimizer's state.
#[derive(Debug, Clone)]
pub struct Optimizer {
    settings: OptimizerSettings,
    names: Vec<String>,
    averages: Vec<(Vec<f32>, Vec<f32>)>,
    updates: u64,
}

impl Optimizer {
    /// Fresh state for `variables`.
    #[must_use]
    pub fn new(variables: &[Variable], settings: OptimizerSettings) -> Self {
        let names = variables.iter().map(|variable| variable.name.clone()).collect();
        let averages = variables.iter().map(|it| (vec![0.0; it.len()], vec![0.0; it.len()])).collect();
        Self { settings, names, averages, updates: 0 }
    }

    /// Moves `variables` by one update at learning rate `lr`. `norm` is that of `gradients`.
    ///
    /// # Errors
    /// If a variable cannot be written.
    pub fn update(&mut self, variables: &[Variable], gradients: &Gradients, norm: f64, lr: f64) -> Result<()> {
        self.updates += 1;
        let max_grad_norm = self.settings.max_grad_norm;
        let scale = if norm > max_grad_norm { max_grad_norm / norm } else { 1.0 } as f32;
        for ((variable, gradient), (m, v)) in variables.iter().zip(gradients.values()).zip(&mut self.averages) {
            let with = constants(&self.settings, self.updates, lr, variable.decays);
            variable.update(|values| adamw(values, gradient, scale, m, v, with))?;
        }
        Ok(())
    }

    /// Updates made so far.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The averages as tensors.
    #[must_use]
    pub fn to_tensors(&self) -> Vec<NamedTensor> {
        Self::tensors_of(self.names.iter().map(String::as_str), &self.averages)
    }

    /// `averages` of weights with these names, as tensors.
    pub(crate) fn tensors_of<'a>(
        names: impl Iterator<Item = &'a str>,
        averages: &[(Vec<f32>, Vec<f32>)],
    ) -> Vec<NamedTensor> {
        let tensor = |kind: &str, name: &str, data: &[f32]| NamedTensor {
            name: format!("{kind}.{name}"),
            shape: vec![data.len()],
            data: data.into(),
        };
        let states = names.zip(averages);
        states.flat_map(|(name, (m, v))| [tensor("exp_avg", name, m), tensor("exp_avg_sq", name, v)]).collect()
    }

    /// The averages in such `tensors` of weights with these names and lengths.
    pub(crate) fn averages_in<'a, 'b>(
        tensors: &'a [NamedTensor],
        weights: impl Iterator<Item = (&'b str, usize)>,
    ) -> std::result::Result<Vec<Averages<'a>>, LearnerError> {
        let find = |kind: &str, name: &str, len: usize| {
            let name = format!("{kind}.{name}");
            let found = tensors.iter().find(|tensor| tensor.name == name && tensor.data.len() == len);
            let found = found.map(|tensor| &*tensor.data);
            found.ok_or_else(|| LearnerError::State(format!("optimizer.safetensors has no fitting {name}")))
        };
        weights.map(|(name, len)| Ok((find("exp_avg", name, len)?, find("exp_avg_sq", name, len)?))).collect()
    }

    /// Goes back to what [`to_tensors`](Self::to_tensors) gave after `updates` updates.
    ///
    /// # Errors
    /// [`LearnerError::State`] if a tensor is missing or of another size.
    pub fn restore(&mut self, tensors: &[NamedTensor], updates: u64) -> std::result::Result<(), LearnerError> {
        let weights = self.names.iter().map(String::as_str).zip(self.averages.iter().map(|(m, _)| m.len()));
        let found = Self::averages_in(tensors, weights)?;
        for ((m, v), (mean, square)) in self.averages.iter_mut().zip(found) {
            m.copy_from_slice(mean);
            v.copy_from_slice(square);
        }
        self.updates = updates;
        Ok(())
    }
}

/// What the optimizer's kernel is told for update number `updates`, from 1, of a weight that `decays` or does not.
pub(crate) fn constants(settings: &OptimizerSettings, updates: u64, lr: f64, decays: bool) -> AdamW {
    let OptimizerSettings { kind, betas, epsilon, weight_decay, .. } = settings;
    // RMSProp is AdamW without a memory of the gradient, and past the correction for a beginning at 0.
    let (beta1, step) = match kind {
        OptimizerKind::AdamW => (betas.0, updates),
        OptimizerKind::RmsProp => (0.0, u64::MAX),
    };
    AdamW {
        lr: lr as f32,
        beta1: beta1 as f32,
        beta2: betas.1 as f32,
        epsilon: *epsilon as f32,
        weight_decay: if decays { *weight_decay as f32 } else { 0.0 },
        step,
    }
}
