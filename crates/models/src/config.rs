//! What a decoder is, whatever family it comes from.

use serde_json::Value;
use stateset_kernels::Gating;
use stateset_kernels::cpu::{Rope, Span};
use thiserror::Error;

use crate::families;

/// A decoder's dimensions and the choices its family makes.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The family, as `model_type` names it.
    pub family: &'static str,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layers that are no experts.
    pub intermediate_size: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Longest sequence, tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square before its root is taken.
    pub rms_norm_eps: f64,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Ids that end a reply.
    pub eos_token_ids: Vec<u32>,
    /// What embeddings are multiplied by.
    pub embedding_scale: f32,
    /// The cap of the logits.
    pub logit_soft_cap: Option<f32>,
    /// Where norms stand.
    pub norms: Norms,
    /// Whether norms hold `w` for a factor of `1 + w`.
    pub norms_about_one: bool,
    /// What attention does.
    pub attention: Attention,
    /// What becomes of gates.
    pub gating: Gating,
    /// Whether feed-forward projections have a bias.
    pub mlp_bias: bool,
    /// Experts, where layers have them.
    pub experts: Option<Experts>,
    /// How positions turn: tables that layers name.
    pub ropes: Vec<RopeTable>,
    /// The layers, first to last.
    pub layers: Vec<LayerKind>,
    /// How tensors are kept in files.
    pub packing: Packing,
}

/// Where a block's norms stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norms {
    /// Before attention and before the feed-forward.
    Before,
    /// After them, before what they found is added.
    After,
    /// Both.
    Both,
}

/// What attention does beside the common.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// What products of queries and keys are multiplied by.
    pub scale: f32,
    /// The cap of scores.
    pub soft_cap: Option<f32>,
    /// Whether queries, keys and values have a bias.
    pub bias: bool,
    /// Whether the output has one.
    pub output_bias: bool,
    /// What of queries and keys is normed.
    pub head_norm: HeadNorm,
    /// Whether every head has a sink.
    pub sinks: bool,
}

/// What of queries and keys is normed before they are turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadNorm {
    /// Nothing.
    None,
    /// Each head by itself.
    Each,
    /// All heads of a token together.
    Together,
}

/// A mixture of experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experts {
    /// How many there are.
    pub count: usize,
    /// How many a token goes to.
    pub each: usize,
    /// Width of one.
    pub intermediate: usize,
    /// Whether the weights of a token sum to one.
    pub normed: bool,
    /// Whether router and experts have biases.
    pub bias: bool,
}

/// How fast the pairs of a head turn.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeTable {
    /// Radians a position, a pair each.
    pub frequencies: Vec<f64>,
    /// What turned queries and keys are multiplied by.
    pub factor: f64,
}

/// What is special about a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKind {
    /// How many of the latest tokens a query sees; all without it.
    pub window: Option<usize>,
    /// Which of the tables turns queries and keys; none leaves them as they are.
    pub rope: Option<usize>,
    /// Whether its feed-forward is a mixture of experts.
    pub experts: bool,
}

/// How a family keeps tensors that are otherwise the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Projections apart, experts apart.
    Apart,
    /// Queries, keys and values as one; gate and up as one.
    Fused,
    /// All experts as one, input by output, gates and values taking turns.
    Interleaved,
}

/// Why a configuration cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// Not JSON.
    #[error("config.json: {0}")]
    Parse(String),
    /// A field is absent.
    #[error("config.json: {0} is missing")]
    Missing(String),
    /// A field has another type or lies out of its range.
    #[error("config.json: {field} is {found}, expected {expected}")]
    Type {
        /// The field.
        field: String,
        /// What it says.
        found: String,
        /// What it may say.
        expected: &'static str,
    },
    /// A field asks for something this decoder does not do.
    #[error("config.json: {field} is {found}, only {supported} is supported")]
    Unsupported {
        /// The field.
        field: String,
        /// What it says.
        found: String,
        /// What it may say.
        supported: String,
    },
    /// Fields that the family is not known to have: what they ask for would be left undone.
    #[error("config.json: {fields} is no field of {family} that is known here; what it asks for would be left undone")]
    Unknown {
        /// The fields.
        fields: String,
        /// The family.
        family: &'static str,
    },
    /// Dimensions that contradict each other.
    #[error("config.json: {0}")]
    Shape(String),
}

impl ModelConfig {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`], naming the field.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let json: Value = serde_json::from_str(text).map_err(|error| ConfigError::Parse(error.to_string()))?;
        let config = families::read(json)?;
        config.check()?;
        Ok(config)
    }

    /// How many layers there are.
    #[must_use]
    pub fn num_hidden_layers(&self) -> usize {
        self.layers.len()
    }

    /// Rows of the fused query, key and value projection.
    #[must_use]
    pub fn qkv_rows(&self) -> usize {
        (self.num_attention_heads + 2 * self.num_key_value_heads) * self.head_dim
    }

    /// Tables of so many positions, and one that turns nothing.
    pub(crate) fn ropes(&self, positions: usize) -> Vec<Rope> {
        let tables = self.ropes.iter().map(|table| Rope::of(positions, &table.frequencies, table.factor));
        tables.chain([Rope::of(positions, &[], 1.0)]).collect()
    }

    /// The columns of queries and keys that are normed, by these weights.
    pub(crate) fn head_spans<'a>(&self, queries: &'a [f32], keys: &'a [f32]) -> [Span<'a>; 2] {
        let width = |heads: usize| heads * self.head_dim;
        let span = |start, heads, weights: &'a [f32]| Span { start, groups: width(heads) / weights.len(), weights };
        let heads = self.num_attention_heads;
        [span(0, heads, queries), span(width(heads), self.num_key_value_heads, keys)]
    }

    fn check(&self) -> Result<(), ConfigError> {
        let shape = |message: String| Err(ConfigError::Shape(message));
        let (heads, kv, d) = (self.num_attention_heads, self.num_key_value_heads, self.head_dim);
        if !d.is_multiple_of(2) || d > 256 {
            return shape(format!("head_dim is {d}; it must be even and at most 256"));
        }
        if !heads.is_multiple_of(kv) {
            return shape(format!("{heads} attention heads cannot share {kv} key-value heads evenly"));
        }
        if let Some(Experts { count, each, .. }) = self.experts
            && (each == 0 || each > count)
        {
            return shape(format!("a token cannot go to {each} of {count} experts"));
        }
        let experts = self.experts.map_or(0, |experts| experts.count.saturating_mul(self.layers.len()));
        if experts > MOST_EXPERTS {
            return shape(format!("{experts} experts in all layers are more than {MOST_EXPERTS}"));
        }
        let experts = self.experts.map_or(0, |experts| experts.count.saturating_mul(experts.intermediate));
        let largest = (2 * self.intermediate_size).max(experts).max(self.vocab_size).max(self.qkv_rows());
        if largest.saturating_mul(self.hidden_size) > LARGEST_WEIGHT {
            return shape(format!(
                "a weight of {largest} x {} numbers is more than {LARGEST_WEIGHT}",
                self.hidden_size
            ));
        }
        Ok(())
    }
}

/// Experts of all layers at most: five times those of the largest models.
const MOST_EXPERTS: usize = 1 << 16;
/// Numbers of one weight at most: 64 GiB of f32.
const LARGEST_WEIGHT: usize = 1 << 34;
