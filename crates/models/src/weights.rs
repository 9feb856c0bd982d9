//! A decoder's weights in host memory.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use rayon::prelude::*;
use stateset_domain::{NamedTensor, PolicySnapshot, Stream, sha256_hex};
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

    /// A digest of the shape and of every weight, 64 hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        let parameters = self.config.parameters();
        let each: Vec<_> = parameters.iter().zip(self.values.iter()).collect();
        let digest = |(parameter, values): &(&Parameter, &Arc<Stored>)| {
            PolicySnapshot::digest_of(&parameter.tensors(&values.to_f32())).to_string()
        };
        let digests: Vec<String> = each.par_iter().map(digest).collect();
        sha256_hex(digests.concat().as_bytes())
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
        let values = stacked(config, tensors, |parts| held(parts.concat()))?;
        Ok(Self { config: config.clone(), values })
    }

    /// The same, of tensors that `read` gives the shape and the numbers of, one of `names` at a time.
    pub(crate) fn gather<'a, E: From<WeightError>>(
        config: &ModelConfig,
        names: impl Iterator<Item = &'a str>,
        mut read: impl FnMut(&'a str) -> Result<(Vec<usize>, Vec<f32>), E>,
    ) -> Result<Self, E> {
        let read = |name| read(name).map(|(shape, values)| (shape, Cow::Owned(values)));
        let values = gathered(config, names, read, |mut parts| match parts.pop() {
            Some(whole) if parts.is_empty() => held(whole.into_owned()),
            last => held(parts.into_iter().chain(last).collect::<Vec<_>>().concat()),
        })?;
        Ok(Self { config: config.clone(), values })
    }

    /// The weights under their Hugging Face names.
    #[must_use]
    pub fn to_tensors(&self) -> Vec<NamedTensor> {
        let mut tensors = Vec::new();
        for (parameter, values) in self.config.parameters().iter().zip(self.values.iter()) {
            tensors.extend(parameter.tensors(&values.to_f32()));
        }
        tensors
    }
}

fn held(values: Vec<f32>) -> Arc<Stored> {
    Arc::new(values.into())
}

/// A decoder of what `stack` makes of the parts that each weight has, in the order of the inside. `read` gives the shape and the numbers
/// of one of `names`, all of which belong to the decoder.
pub(crate) fn gathered<'a, W, E: From<WeightError>>(
    config: &ModelConfig,
    names: impl Iterator<Item = &'a str>,
    mut read: impl FnMut(&'a str) -> Result<(Vec<usize>, Cow<'a, [f32]>), E>,
    mut stack: impl FnMut(Vec<Cow<'a, [f32]>>) -> W,
) -> Result<Decoder<W>, E> {
    let mut left: BTreeSet<&str> = names.collect();
    let gathered = config.parameters().try_map(|parameter| {
        let mut parts = Vec::with_capacity(parameter.parts.len());
        for part in &parameter.parts {
            let name = left.take(part.name.as_str()).ok_or_else(|| WeightError::Missing(part.name.clone()))?;
            let (found, values) = read(name)?;
            if found != part.shape {
                let (name, expected) = (part.name.clone(), part.shape.clone());
                return Err(WeightError::Shape { name, found, expected }.into());
            }
            let same = parameter.order == Order::Same;
            parts.push(if same { values } else { parameter.inside(&values).into() });
        }
        Ok::<W, E>(stack(parts))
    })?;
    // Frequencies follow from the configuration; old files hold them all the same. A tied head is the embedding.
    let known =
        |name: &str| name.ends_with("rotary_emb.inv_freq") || (config.tie_word_embeddings && name == "lm_head.weight");
    match left.iter().find(|name| !known(name)) {
        Some(stray) => Err(WeightError::Unknown((*stray).into()).into()),
        None => Ok(gathered),
    }
}

/// The same, of tensors in memory.
pub(crate) fn stacked<'a, W>(
    config: &ModelConfig,
    tensors: &'a [NamedTensor],
    stack: impl FnMut(Vec<Cow<'a, [f32]>>) -> W,
) -> Result<Decoder<W>, WeightError> {
    let by_name: BTreeMap<_, _> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let read = |name| Ok((by_name[name].shape.clone(), Cow::Borrowed(&*by_name[name].data)));
    gathered(config, by_name.keys().copied(), read, stack)
}
