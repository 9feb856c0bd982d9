//! AdamW with global-norm clipping, decay on matrices only.

use candle_core::Result;
use serde::{Deserialize, Serialize};
use stateset_domain::{LearnerError, NamedTensor};
use stateset_kernels::cpu::{AdamW, adamw};
use stateset_models::Autograd;

use crate::Gradients;

/// Constants of the optimizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerSettings {
    /// Decay rates of the averages of gradient and squared gradient.
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
        Self { betas: (0.9, 0.999), epsilon: 1e-8, weight_decay: 0.0, max_grad_norm: 1.0 }
    }
}

/// The optimizer's state.
#[derive(Debug, Clone)]
pub struct Optimizer {
    settings: OptimizerSettings,
    names: Vec<(String, bool)>,
    averages: Vec<(Vec<f32>, Vec<f32>)>,
    updates: u64,
}

impl Optimizer {
    /// Fresh state for the variables of `model`.
    #[must_use]
    pub fn new(model: &Autograd, settings: OptimizerSettings) -> Self {
        let parameters = model.config().parameters();
        let names = parameters.iter().map(|p| (p.name.clone(), p.is_matrix())).collect();
        let averages = parameters.iter().map(|p| (vec![0.0; p.len()], vec![0.0; p.len()])).collect();
        Self { settings, names, averages, updates: 0 }
    }

    /// Moves the variables of `model` by one update at learning rate `lr`. `norm` is that of `gradients`.
    ///
    /// # Errors
    /// If a variable cannot be written.
    pub fn update(&mut self, model: &Autograd, gradients: &Gradients, norm: f64, lr: f64) -> Result<()> {
        self.updates += 1;
        let OptimizerSettings { betas, epsilon, weight_decay, max_grad_norm } = self.settings;
        let scale = if norm > max_grad_norm { max_grad_norm / norm } else { 1.0 } as f32;
        let variables = model.variables().iter().zip(gradients.values());
        for (((var, gradient), (m, v)), (_, is_matrix)) in variables.zip(&mut self.averages).zip(&self.names) {
            let with = AdamW {
                lr: lr as f32,
                beta1: betas.0 as f32,
                beta2: betas.1 as f32,
                epsilon: epsilon as f32,
                weight_decay: if *is_matrix { weight_decay as f32 } else { 0.0 },
                step: self.updates,
            };
            Autograd::update(var, |values| adamw(values, gradient, scale, m, v, with))?;
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
        let tensor = |kind: &str, name: &str, data: &[f32]| NamedTensor {
            name: format!("{kind}.{name}"),
            shape: vec![data.len()],
            data: data.into(),
        };
        let states = self.names.iter().zip(&self.averages);
        states.flat_map(|((name, _), (m, v))| [tensor("exp_avg", name, m), tensor("exp_avg_sq", name, v)]).collect()
    }

    /// Goes back to what [`to_tensors`](Self::to_tensors) gave after `updates` updates.
    ///
    /// # Errors
    /// [`LearnerError::State`] if a tensor is missing or of another size.
    pub fn restore(&mut self, tensors: &[NamedTensor], updates: u64) -> std::result::Result<(), LearnerError> {
        for ((name, _), (m, v)) in self.names.iter().zip(&mut self.averages) {
            for (kind, average) in [("exp_avg", m), ("exp_avg_sq", v)] {
                let name = format!("{kind}.{name}");
                let found = tensors.iter().find(|tensor| tensor.name == name && tensor.data.len() == average.len());
                let found =
                    found.ok_or_else(|| LearnerError::State(format!("optimizer.safetensors has no fitting {name}")))?;
                average.copy_from_slice(&found.data);
            }
        }
        self.updates = updates;
        Ok(())
    }
}
