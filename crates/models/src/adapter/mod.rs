//! Low-rank adapters (LoRA, Hu et al., arXiv:2106.09685) of a decoder's projections.
//!
//! A projection `W` becomes `W + scale B A`, with `A [rank, inputs]`, `B [outputs, rank]` and `scale = alpha / rank`, or
//! `alpha / sqrt(rank)` when stabilised (rsLoRA, Kalajdzievski, arXiv:2312.03732). Only the factors are learnt. `B` begins at zero, so that
//! an adapter that has learnt nothing changes nothing.

mod adapted;
mod peft;
mod targets;

use std::sync::Arc;

use stateset_domain::{NamedTensor, Stream};
use stateset_kernels::cpu;
use thiserror::Error;

use crate::{HostWeights, ModelConfig};

pub(crate) use adapted::Adapted;
pub use peft::{ADAPTER_CONFIG, ADAPTER_WEIGHTS};
use targets::Target;
pub use targets::Targets;

/// How a decoder is adapted.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Inner width of the factors, at least 1.
    pub rank: usize,
    /// How much the adapter weighs, over the rank. Above 0.
    pub alpha: f64,
    /// Whether it weighs over the root of the rank instead.
    pub stabilised: bool,
    /// How much of its input is left out while it learns (Srivastava et al., 2014); in `[0, 1)`.
    pub dropout: f32,
    /// Which projections are adapted.
    pub targets: Targets,
}

impl LoraConfig {
    /// What `B A` is multiplied by.
    #[must_use]
    pub fn scale(&self) -> f32 {
        let rank = self.rank as f64;
        (self.alpha / if self.stabilised { rank.sqrt() } else { rank }) as f32
    }

    /// How many numbers are learnt of a decoder of shape `model`.
    ///
    /// # Errors
    /// [`AdapterError::Target`] if the decoder lacks a target.
    pub fn learnt(&self, model: &ModelConfig) -> Result<usize, AdapterError> {
        let both = |target: &Target| self.rank * (target.inputs + target.columns.len());
        Ok(self.targets.of(model)?.iter().map(both).sum())
    }
}

/// An adapter as plain numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct HostAdapter {
    /// How it adapts.
    pub config: LoraConfig,
    /// The factors of every projection, in the order of the decoder's weights.
    pub factors: Vec<Factors>,
}

/// The two factors of one projection.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    pub(crate) target: Target,
    /// `[rank, inputs]`.
    pub a: Vec<f32>,
    /// `[outputs, rank]`.
    pub b: Vec<f32>,
}

impl Factors {
    /// The projection's name, such as `model.layers.0.self_attn.q_proj`.
    #[must_use]
    pub fn module(&self) -> &str {
        &self.target.module
    }
}

/// Why an adapter does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AdapterError {
    /// No projection has that name.
    #[error("no projection of this model is named {name}; there are {known}")]
    Target {
        /// The name.
        name: String,
        /// Those it may be.
        known: String,
    },
    /// The configuration asks for something this program does not do.
    #[error("adapter_config.json: {field} is {found}, only {supported} is supported")]
    Unsupported {
        /// The field.
        field: String,
        /// What it says.
        found: String,
        /// What it may say.
        supported: &'static str,
    },
    /// The configuration cannot be read.
    #[error("adapter_config.json: {0}")]
    Config(String),
    /// The factors are not those of the configuration.
    #[error("adapter_model.safetensors: {0}")]
    Weights(String),
    /// A file is absent.
    #[error("the adapter has no {0}")]
    Missing(&'static str),
}

impl HostAdapter {
    /// An adapter that changes nothing yet. `A` is uniform within `1 / sqrt(inputs)`, as PEFT begins it.
    ///
    /// # Errors
    /// [`AdapterError::Target`] if the decoder lacks a target.
    pub fn fresh(model: &ModelConfig, config: LoraConfig, stream: Stream) -> Result<Self, AdapterError> {
        let begin = |(label, target): (u64, Target)| {
            let (mut stream, bound) = (stream.fork(label), 1.0 / (target.inputs as f64).sqrt());
            let a = (0..config.rank * target.inputs).map(|_| ((2.0 * stream.uniform() - 1.0) * bound) as f32).collect();
            Factors { a, b: vec![0.0; target.columns.len() * config.rank], target }
        };
        let factors = (0..).zip(config.targets.of(model)?).map(begin).collect();
        Ok(Self { config, factors })
    }

    /// `base` with the adapter made part of its weights. Those that it leaves as they are are shared.
    ///
    /// # Panics
    /// If `base` is not of the decoder that the adapter was made for.
    #[must_use]
    pub fn merged(&self, base: &HostWeights) -> HostWeights {
        let (rank, scale, mut at) = (self.config.rank, self.config.scale(), 0..);
        let Ok(values) = base.values.try_map(|values| {
            let mut own = self.of(at.next().unwrap_or_default()).peekable();
            if own.peek().is_none() {
                return Ok::<_, std::convert::Infallible>(values.clone());
            }
            let mut values = values.to_f32().into_owned();
            for Factors { target, a, b } in own {
                let (k, rows) = (target.inputs, target.columns.len());
                let turned: Vec<f32> = (0..b.len()).map(|i| scale * b[i % rows * rank + i / rows]).collect();
                let own = &mut values[target.columns.start * k..target.columns.end * k];
                cpu::linear_weight_gradient_add(&turned, a, own, (rank, k, rows));
            }
            Ok(Arc::new(values.into()))
        });
        HostWeights { config: base.config.clone(), values }
    }

    /// What adapts the decoder's weight number `parameter`.
    pub(crate) fn of(&self, parameter: usize) -> impl Iterator<Item = &Factors> {
        self.factors.iter().filter(move |it| it.target.parameter == parameter)
    }

    /// The names of the factors in PEFT, `A` and `B` in turns.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.factors.iter().flat_map(|it| ["A", "B"].map(|factor| peft::tensor_name(&it.target.module, factor)))
    }

    /// The factors by their names in PEFT.
    #[must_use]
    pub fn to_tensors(&self) -> Vec<NamedTensor> {
        let rank = self.config.rank;
        let both = |Factors { target, a, b }: &Factors| {
            [(vec![rank, target.inputs], a[..].into()), (vec![target.columns.len(), rank], b[..].into())]
        };
        let named = |(name, (shape, data))| NamedTensor { name, shape, data };
        self.names().zip(self.factors.iter().flat_map(both)).map(named).collect()
    }
}
