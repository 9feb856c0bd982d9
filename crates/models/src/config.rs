//! The shape of a decoder, as Hugging Face's `config.json` writes it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A Llama-family decoder's dimensions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// `["LlamaForCausalLM"]`.
    pub architectures: Vec<String>,
    /// `llama`.
    pub model_type: String,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Longest sequence, tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square before its root is taken.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Non-linearity of the gate; only `silu`.
    pub hidden_act: String,
    /// Bias in attention projections; only `false`.
    #[serde(default)]
    pub attention_bias: bool,
    /// Bias in feed-forward projections; only `false`.
    #[serde(default)]
    pub mlp_bias: bool,
    /// Stretching of rotary positions; only `null`.
    #[serde(default)]
    pub rope_scaling: Option<serde_json::Value>,
    /// Id that ends a reply.
    pub eos_token_id: u32,
    /// Element type on disk.
    #[serde(default = "float32")]
    pub torch_dtype: String,
}

fn float32() -> String {
    "float32".into()
}

/// Far above any model's, and low enough that no product overflows.
const MOST: usize = 1 << 24;
/// What is counted by layers is allocated before the weights have shown that they are there.
const MOST_LAYERS: usize = 4096;

/// Why a configuration cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// Not JSON, or a field is missing or of the wrong type.
    #[error("config.json: {0}")]
    Parse(String),
    /// A field asks for something this decoder does not do.
    #[error("config.json: {field} is {found}, only {supported} is supported")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it may say.
        supported: &'static str,
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
        let config: Self = serde_json::from_str(text).map_err(|error| ConfigError::Parse(error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// Width of a head.
    #[must_use]
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Rows of the fused query, key and value projection.
    #[must_use]
    pub fn qkv_rows(&self) -> usize {
        (self.num_attention_heads + 2 * self.num_key_value_heads) * self.head_dim()
    }

    /// Checks that this decoder can run it.
    ///
    /// # Errors
    /// [`ConfigError::Unsupported`] or [`ConfigError::Shape`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let unsupported = |field, found: String, supported| Err(ConfigError::Unsupported { field, found, supported });
        if self.architectures != ["LlamaForCausalLM"] {
            return unsupported("architectures", format!("{:?}", self.architectures), "[\"LlamaForCausalLM\"]");
        }
        if self.hidden_act != "silu" {
            return unsupported("hidden_act", self.hidden_act.clone(), "silu");
        }
        if self.attention_bias || self.mlp_bias {
            return unsupported("attention_bias or mlp_bias", "true".into(), "false");
        }
        if let Some(scaling) = &self.rope_scaling {
            return unsupported("rope_scaling", scaling.to_string(), "null");
        }
        let positive = [
            self.vocab_size,
            self.hidden_size,
            self.intermediate_size,
            self.num_hidden_layers,
            self.num_attention_heads,
            self.num_key_value_heads,
            self.max_position_embeddings,
        ];
        let shape = |message: String| Err(ConfigError::Shape(message));
        if positive.contains(&0) {
            return shape("every dimension must be at least 1".into());
        }
        if positive.iter().any(|dimension| *dimension > MOST) || self.num_hidden_layers > MOST_LAYERS {
            return shape(format!("no dimension may be above {MOST}, and num_hidden_layers not above {MOST_LAYERS}"));
        }
        let (hidden, heads, kv) = (self.hidden_size, self.num_attention_heads, self.num_key_value_heads);
        if hidden % heads != 0 || !self.head_dim().is_multiple_of(2) || self.head_dim() > 256 {
            return shape(format!(
                "hidden_size {hidden} over {heads} heads must give an even head width of at most 256"
            ));
        }
        if heads % kv != 0 {
            return shape(format!("{heads} attention heads cannot share {kv} key-value heads evenly"));
        }
        Ok(())
    }
}
