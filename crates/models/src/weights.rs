//! A decoder's weights in host memory, and the names they have outside.
//!
//! Inside, projections that are always used together are one matrix (queries, keys and values; gate and up). Outside, in files and
//! snapshots, every tensor has its Hugging Face name and shape.

use stateset_domain::{NamedTensor, Stream};
use thiserror::Error;

use crate::{Decoder, Layer, ModelConfig};

/// One weight: its name, its shape, and the outside tensors it is made of, stacked by rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Name of the fused weight.
    pub name: String,
    /// `[rows, columns]`, or `[width]` for a norm.
    pub shape: Vec<usize>,
    /// Hugging Face names and rows of its parts.
    parts: Vec<(String, usize)>,
}

impl Parameter {
    fn norm(name: String, width: usize) -> Self {
        Self { parts: vec![(name.clone(), width)], name, shape: vec![width] }
    }

    fn matrix(name: String, columns: usize, parts: Vec<(String, usize)>) -> Self {
        let rows = parts.iter().map(|(_, rows)| rows).sum();
        Self { name, shape: vec![rows, columns], parts }
    }

    /// Matrices decay; norms do not.
    #[must_use]
    pub fn is_matrix(&self) -> bool {
        self.shape.len() == 2
    }

    /// How many numbers it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ModelConfig {
    /// Every parameter of this decoder.
    #[must_use]
    pub fn parameters(&self) -> Decoder<Parameter> {
        let (hidden, inner, head) = (self.hidden_size, self.intermediate_size, self.head_dim());
        let (q, kv) = (self.num_attention_heads * head, self.num_key_value_heads * head);
        let whole = |name: String, rows, columns| Parameter::matrix(name.clone(), columns, vec![(name, rows)]);
        let layer = |i: usize| {
            let at = |rest: &str| format!("model.layers.{i}.{rest}.weight");
            let qkv = [("q_proj", q), ("k_proj", kv), ("v_proj", kv)];
            let gate_up = [("gate_proj", inner), ("up_proj", inner)];
            let parts = |prefix: &str, parts: &[(&str, usize)]| {
                parts.iter().map(|(name, rows)| (at(&format!("{prefix}.{name}")), *rows)).collect()
            };
            Layer {
                input_norm: Parameter::norm(at("input_layernorm"), hidden),
                qkv: Parameter::matrix(at("self_attn.qkv_proj"), hidden, parts("self_attn", &qkv)),
                output: whole(at("self_attn.o_proj"), hidden, q),
                post_norm: Parameter::norm(at("post_attention_layernorm"), hidden),
                gate_up: Parameter::matrix(at("mlp.gate_up_proj"), hidden, parts("mlp", &gate_up)),
                down: whole(at("mlp.down_proj"), hidden, inner),
            }
        };
        Decoder {
            embed: whole("model.embed_tokens.weight".into(), self.vocab_size, hidden),
            layers: (0..self.num_hidden_layers).map(layer).collect(),
            norm: Parameter::norm("model.norm.weight".into(), hidden),
            head: (!self.tie_word_embeddings).then(|| whole("lm_head.weight".into(), self.vocab_size, hidden)),
        }
    }
}

/// Weights as plain numbers.
#[derive(Debug, Clone)]
pub struct HostWeights {
    /// The shape of the decoder.
    pub config: ModelConfig,
    /// Its weights, row-major.
    pub values: Decoder<Vec<f32>>,
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
    /// Fresh weights: normal with standard deviation `std` (residual outputs scaled down by depth, as in GPT-2), norms at 1.
    #[must_use]
    pub fn random(config: &ModelConfig, std: f64, stream: Stream) -> Self {
        let residual = std / (2.0 * config.num_hidden_layers as f64).sqrt();
        let mut label = 0;
        let fill = |parameter: &Parameter| -> Result<Vec<f32>, std::convert::Infallible> {
            label += 1;
            let mut stream = stream.fork(label);
            let into_residual =
                parameter.name.ends_with("o_proj.weight") || parameter.name.ends_with("down_proj.weight");
            let std = if into_residual { residual } else { std };
            let draw = |_| if parameter.is_matrix() { (stream.normal() * std) as f32 } else { 1.0 };
            Ok((0..parameter.len()).map(draw).collect())
        };
        let Ok(values) = config.parameters().try_map(fill);
        Self { config: config.clone(), values }
    }

    /// Weights from tensors by their Hugging Face names.
    ///
    /// # Errors
    /// [`WeightError`], naming the tensor.
    pub fn from_tensors(config: &ModelConfig, tensors: &[NamedTensor]) -> Result<Self, WeightError> {
        let stack = |parts: &Vec<&NamedTensor>| Ok(parts.iter().map(|part| &*part.data).collect::<Vec<_>>().concat());
        Ok(Self { config: config.clone(), values: parts_of(config, tensors)?.try_map(stack)? })
    }

    /// The weights under their Hugging Face names.
    #[must_use]
    pub fn to_tensors(&self) -> Vec<NamedTensor> {
        let mut tensors = Vec::new();
        for (parameter, mut values) in self.config.parameters().iter().zip(self.values.iter().map(Vec::as_slice)) {
            for (name, rows) in &parameter.parts {
                let shape: Vec<usize> = std::iter::once(*rows).chain(parameter.shape.get(1).copied()).collect();
                let (part, rest) = values.split_at(shape.iter().product());
                tensors.push(NamedTensor { name: name.clone(), shape, data: part.into() });
                values = rest;
            }
        }
        tensors
    }
}

/// The tensors that each weight of a decoder is stacked from; all of `tensors` belong to one.
pub(crate) fn parts_of<'a>(
    config: &ModelConfig,
    tensors: &'a [NamedTensor],
) -> Result<Decoder<Vec<&'a NamedTensor>>, WeightError> {
    let by_name: std::collections::BTreeMap<_, _> = tensors.iter().map(|t| (t.name.as_str(), t)).collect();
    let (parameters, mut used) = (config.parameters(), 0);
    let found = parameters.try_map(|parameter| {
        let part = |(name, rows): &(String, usize)| {
            let tensor = *by_name.get(name.as_str()).ok_or_else(|| WeightError::Missing(name.clone()))?;
            let expected: Vec<usize> = std::iter::once(*rows).chain(parameter.shape.get(1).copied()).collect();
            if tensor.shape != expected {
                return Err(WeightError::Shape { name: name.clone(), found: tensor.shape.clone(), expected });
            }
            Ok(tensor)
        };
        used += parameter.parts.len();
        parameter.parts.iter().map(part).collect()
    })?;
    if used != tensors.len() {
        let known = |name: &str| parameters.iter().flat_map(|p| &p.parts).any(|(part, _)| part == name);
        let stray = tensors.iter().map(|t| t.name.as_str()).find(|name| !known(name)).unwrap_or_default();
        return Err(WeightError::Unknown(stray.into()));
    }
    Ok(found)
}
