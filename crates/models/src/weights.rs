//! A decoder's weights in host memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use stateset_domain::{NamedTensor, Stream};
use thiserror::Error;

use crate::parameters::{Begins, Order};
use crate::{Decoder, ModelConfig, Parameter, Stored};

/// Weights as plain numbers. A copy shares them.
#[derive(Debug, Clone)]
pub struct HostWeights {
    /// The shape of the decoder.
    pub config: ModelConfig,
    /// Its weights, row-major.
    pub values: Decoder<Arc<Stored>>,
}

/// Why tensors are not the weights of a decoder.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WeightError {
    /// A tensor is absent.
    #[error("tensor {0} is missing")]
    Missing(String),
    /// A tensor has the wrong shape.
    #[error("tensor {name} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor belongs to no part of the decoder.
    #[error("tensor {0} is not part of this architecture")]
    Unknown(String),
}

impl HostWeights {
    /// A decoder of shape `config` with `values`.
    #[must_use]
    pub fn new(config: &ModelConfig, values: &Decoder<Vec<f32>>) -> Self {
        let hold = |values: &Vec<f32>| Ok::<_, Infallible>(held(values.clone()));
        let Ok(values) = values.try_map(hold);
        Self { config: config.clone(), values }
    }

    /// The same decoder with what `f` makes of every weight, in their order.
    #[must_use]
    pub fn map(&self, mut f: impl FnMut(&[f32]) -> Vec<f32>) -> Self {
        let Ok(values) = self.values.try_map::<_, Infallible>(|values| Ok(held(f(&values.to_f32()))));
        Self { config: self.config.clone(), values }
    }

    /// Bytes that they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.values.iter().map(|values| values.bytes()).sum()
    }

    /// Fresh weights: normal with standard deviation `std` (residual outputs scaled down by depth, as in GPT-2), norms at 1, biases at 0.
    #[must_use]
    pub fn random(config: &ModelConfig, std: f64, stream: Stream) -> Self {
        let residual = std / (2.0 * config.num_hidden_layers() as f64).sqrt();
        let mut label = 0;
        let fill = |parameter: &Parameter| -> Result<Arc<Stored>, Infallible> {
            label += 1;
            let mut stream = stream.fork(label);
            let mut draw = |std: f64| (0..parameter.len()).map(|_| (stream.normal() * std) as f32).collect();
            Ok(held(match parameter.begins {
                Begins::Random => draw(std),
                Begins::IntoResidual => draw(residual),
                Begins::One => vec![1.0; parameter.len()],
                Begins::Zero => vec![0.0; parameter.len()],
            }))
        };
        let Ok(values) = config.parameters().try_map(fill);
        Self { config: config.clone(), values }
    }

    /// Weights from tensors by their Hugging Face names.
    ///
    /// # Errors
    /// [`WeightError`], naming the tensor.
    pub fn from_tensors(config: &ModelConfig, tensors: &[NamedTensor]) -> Result<Self, WeightError> {
        let stack = |parts: &Vec<Cow<'_, [f32]>>| Ok(held(parts.concat()));
        Ok(Self { config: config.clone(), values: parts_of(config, tensors)?.try_map(stack)? })
    }

    /// The weights under their Hugging Face names.
    #[must_use]
    pub fn to_tensors(&self) -> Vec<NamedTensor> {
        let mut tensors = Vec::new();
        for (parameter, values) in self.config.parameters().iter().zip(self.values.iter()) {
            let values = values.to_f32();
            let mut values = &*values;
            for part in &parameter.parts {
                let (own, rest) = values.split_at(part.shape.iter().product());
                let data = if parameter.order == Order::Same { own.into() } else { parameter.outside(own).into() };
                tensors.push(NamedTensor { name: part.name.clone(), shape: part.shape.clone(), data });
                values = rest;
            }
        }
        tensors
    }
}

fn held(values: Vec<f32>) -> Arc<Stored> {
    Arc::new(values.into())
}

/// What each weight of a decoder is stacked from, in the order of the inside; all of `tensors` belong to one.
pub(crate) fn parts_of<'a>(
    config: &ModelConfig,
    tensors: &'a [NamedTensor],
) -> Result<Decoder<Vec<Cow<'a, [f32]>>>, WeightError> {
    let mut by_name: BTreeMap<_, _> = tensors.iter().map(|t| (t.name.as_str(), t)).collect();
    let parameters = config.parameters();
    let found = parameters.try_map(|parameter| {
        let mut parts = Vec::with_capacity(parameter.parts.len());
        for part in &parameter.parts {
            let missing = || WeightError::Missing(part.name.clone());
            let tensor = by_name.remove(part.name.as_str()).ok_or_else(missing)?;
            if tensor.shape != part.shape {
                let (name, found, expected) = (part.name.clone(), tensor.shape.clone(), part.shape.clone());
                return Err(WeightError::Shape { name, found, expected });
            }
            let values = &*tensor.data;
            parts.push(if parameter.order == Order::Same { values.into() } else { parameter.inside(values).into() });
        }
        Ok(parts)
    })?;
    // Frequencies follow from the configuration; old files hold them all the same. A tied head is the embedding.
    let known =
        |name: &str| name.ends_with("rotary_emb.inv_freq") || (config.tie_word_embeddings && name == "lm_head.weight");
    match by_name.keys().find(|name| !known(name)) {
        Some(stray) => Err(WeightError::Unknown((*stray).into())),
        None => Ok(found),
    }
}
