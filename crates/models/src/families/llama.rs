//! Llama (Touvron et al., arXiv:2302.13971) and what follows it closely: Mistral (arXiv:2310.06825), SmolLM3, OLMo 2 (arXiv:2501.00656).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fields::Fields;
use super::{attention_bias, common, turn, windows};
use crate::config::{HeadNorm, Norms};
use crate::{ConfigError, ModelConfig};

/// The `config.json` of a plain Llama, for models that begin here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlamaConfig {
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
    /// `silu`.
    pub hidden_act: String,
    /// `false`.
    pub attention_bias: bool,
    /// `false`.
    pub mlp_bias: bool,
    /// `null`.
    pub rope_scaling: Option<Value>,
    /// Id that ends a reply.
    pub eos_token_id: u32,
    /// Element type on disk.
    pub torch_dtype: String,
}

impl LlamaConfig {
    /// The decoder it describes.
    ///
    /// # Errors
    /// [`ConfigError`], naming the field.
    pub fn decoder(&self) -> Result<ModelConfig, ConfigError> {
        let json = serde_json::to_string(self).map_err(|error| ConfigError::Parse(error.to_string()))?;
        ModelConfig::from_json(&json)
    }
}

fn silu(f: &mut Fields) -> Result<(), ConfigError> {
    f.only("hidden_act", &[json!("silu"), json!("swish")])
}

pub(super) fn llama(mut f: Fields) -> Result<ModelConfig, ConfigError> {
    let mut config = common(&mut f, "llama")?;
    silu(&mut f)?;
    turn(&mut f, &mut config, 10_000.0)?;
    attention_bias(&mut f, &mut config, false)?;
    config.mlp_bias = f.flag("mlp_bias", false)?;
    f.only("rope_interleaved", &[json!(false)])?;
    f.ignore(&["is_llama_config"]);
    f.finish("llama")?;
    Ok(config)
}

pub(super) fn mistral(mut f: Fields) -> Result<ModelConfig, ConfigError> {
    let mut config = common(&mut f, "mistral")?;
    silu(&mut f)?;
    turn(&mut f, &mut config, 10_000.0)?;
    let window = f.optional_count("sliding_window")?;
    windows(&mut f, &mut config, window, |_| window.is_some())?;
    f.finish("mistral")?;
    Ok(config)
}

pub(super) fn smollm3(mut f: Fields) -> Result<ModelConfig, ConfigError> {
    let mut config = common(&mut f, "smollm3")?;
    silu(&mut f)?;
    turn(&mut f, &mut config, 2_000_000.0)?;
    attention_bias(&mut f, &mut config, false)?;
    config.mlp_bias = f.flag("mlp_bias", false)?;
    let window = f.optional_count("sliding_window")?;
    if f.flag("use_sliding_window", false)? {
        windows(&mut f, &mut config, window, |_| false)?;
    }
    f.ignore(&["layer_types", "max_window_layers"]);
    let interval = f.optional_count("no_rope_layer_interval")?.unwrap_or(4);
    let count = config.layers.len();
    let turns: Vec<bool> = match f.take("no_rope_layers") {
        None => (0..count).map(|i| !(i + 1).is_multiple_of(interval)).collect(),
        Some(Value::Array(list)) if list.len() == count => list.iter().map(|it| *it != json!(0)).collect(),
        Some(_) => {
            return Err(ConfigError::Shape(format!("no_rope_layers must be a list of {count}, one for each layer")));
        }
    };
    config.layers.iter_mut().zip(turns).for_each(|(layer, turns)| layer.rope = turns.then_some(0));
    f.finish("smollm3")?;
    Ok(config)
}

pub(super) fn olmo2(mut f: Fields) -> Result<ModelConfig, ConfigError> {
    let mut config = common(&mut f, "olmo2")?;
    silu(&mut f)?;
    turn(&mut f, &mut config, 10_000.0)?;
    attention_bias(&mut f, &mut config, false)?;
    config.norms = Norms::After;
    config.attention.head_norm = HeadNorm::Together;
    f.finish("olmo2")?;
    Ok(config)
}
