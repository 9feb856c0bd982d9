//! What the families of Hugging Face's `model_type` are made of: names and choices over one decoder.
//!
//! | `model_type` | Models | What is its own |
//! |---|---|---|
//! | `llama` | Llama 2 and 3, SmolLM2 | |
//! | `mistral` | Mistral | a window |
//! | `smollm3` | SmolLM3 | layers whose positions do not turn |
//! | `qwen2` | Qwen 2 and 2.5 | biases on queries, keys and values |
//! | `qwen3`, `qwen3_moe` | Qwen 3 | normed heads; experts |
//! | `gemma2`, `gemma3_text` | Gemma 2 and 3 | norms on both sides, windows that alternate, caps, GeGLU |
//! | `phi3` | Phi-3, Phi-4-mini | fused projections, heads that turn in part |
//! | `olmo2` | OLMo 2 | norms behind |
//! | `gpt_oss` | gpt-oss | sinks, windows that alternate, experts |
//!
//! A field that a family is not known to have is refused by name: what it asks for would be left undone.

mod fields;
mod gemma;
mod gpt_oss;
mod llama;
mod phi;
mod qwen;
mod rope;

use serde_json::{Value, json};
use stateset_kernels::Gating;

pub use llama::LlamaConfig;

use crate::config::{Attention, HeadNorm, LayerKind, Norms, Packing};
use crate::{ConfigError, ModelConfig};
use fields::Fields;
use rope::Heads;

type Read = fn(Fields) -> Result<ModelConfig, ConfigError>;

/// Every family: `model_type`, the class in `architectures`, and what reads it.
const FAMILIES: [(&str, &str, Read); 11] = [
    ("llama", "LlamaForCausalLM", llama::llama),
    ("mistral", "MistralForCausalLM", llama::mistral),
    ("smollm3", "SmolLM3ForCausalLM", llama::smollm3),
    ("olmo2", "Olmo2ForCausalLM", llama::olmo2),
    ("qwen2", "Qwen2ForCausalLM", qwen::qwen2),
    ("qwen3", "Qwen3ForCausalLM", qwen::qwen3),
    ("qwen3_moe", "Qwen3MoeForCausalLM", qwen::qwen3_moe),
    ("gemma2", "Gemma2ForCausalLM", gemma::gemma2),
    ("gemma3_text", "Gemma3ForCausalLM", gemma::gemma3),
    ("phi3", "Phi3ForCausalLM", phi::phi3),
    ("gpt_oss", "GptOssForCausalLM", gpt_oss::gpt_oss),
];

/// Reads a `config.json`.
pub(crate) fn read(json: Value) -> Result<ModelConfig, ConfigError> {
    let Value::Object(map) = json else { return Err(ConfigError::Parse("not a JSON object".into())) };
    let mut fields = Fields::new(map);
    let Some(model_type) = fields.text("model_type")? else { return Err(ConfigError::Missing("model_type".into())) };
    let Some((_, class, read)) = FAMILIES.iter().find(|(name, _, _)| *name == model_type) else {
        let supported = FAMILIES.map(|(name, _, _)| name).join(", ");
        let code = if fields.has("auto_map") { " with code of its own, which is never run" } else { "" };
        return Err(ConfigError::Unsupported {
            field: "model_type".into(),
            found: format!("{model_type}{code}"),
            supported,
        });
    };
    fields.only("architectures", &[json!([class])])?;
    read(fields)
}

/// What nearly all families write alike; each changes of it what is its own.
fn common(f: &mut Fields, family: &'static str) -> Result<ModelConfig, ConfigError> {
    let (hidden_size, heads) = (f.count("hidden_size")?, f.count("num_attention_heads")?);
    let given = f.optional_count("head_dim")?;
    if given.is_none() && !hidden_size.is_multiple_of(heads) {
        return Err(ConfigError::Shape(format!("hidden_size {hidden_size} cannot be split into {heads} heads evenly")));
    }
    let layers = f.count("num_hidden_layers")?;
    if layers > MOST_LAYERS {
        return Err(ConfigError::Shape(format!("num_hidden_layers is {layers}, at most {MOST_LAYERS} can be run")));
    }
    let head_dim = given.unwrap_or(hidden_size / heads);
    f.only("attention_dropout", &[json!(0.0)])?;
    let layer = LayerKind { window: None, rope: Some(0), experts: false };
    Ok(ModelConfig {
        family,
        vocab_size: f.count("vocab_size")?,
        hidden_size,
        intermediate_size: f.count("intermediate_size")?,
        num_attention_heads: heads,
        num_key_value_heads: f.optional_count("num_key_value_heads")?.unwrap_or(heads),
        head_dim,
        max_position_embeddings: f.count("max_position_embeddings")?,
        rms_norm_eps: f.number("rms_norm_eps")?,
        tie_word_embeddings: f.flag("tie_word_embeddings", false)?,
        eos_token_ids: f.ids("eos_token_id")?,
        embedding_scale: 1.0,
        logit_soft_cap: None,
        norms: Norms::Before,
        norms_about_one: false,
        attention: Attention {
            scale: 1.0 / (head_dim as f32).sqrt(),
            soft_cap: None,
            bias: false,
            output_bias: false,
            head_norm: HeadNorm::None,
            sinks: false,
        },
        gating: Gating::Silu,
        mlp_bias: false,
        experts: None,
        ropes: Vec::new(),
        layers: vec![layer; layers],
        packing: Packing::Apart,
    })
}

/// Layers at most: as many as no model has.
const MOST_LAYERS: usize = 1024;

/// One table for all layers, from what the file says of it.
fn turn(f: &mut Fields, config: &mut ModelConfig, theta: f64) -> Result<(), ConfigError> {
    let heads = Heads { head_dim: config.head_dim, positions: config.max_position_embeddings, theta };
    let found = rope::read(f, heads, config.family)?;
    config.ropes = vec![found.table];
    if let Some(reach) = found.reach {
        config.max_position_embeddings = config.max_position_embeddings.min(reach);
    }
    Ok(())
}

/// Whether all projections of attention have a bias.
fn attention_bias(f: &mut Fields, config: &mut ModelConfig, default: bool) -> Result<(), ConfigError> {
    let bias = f.flag("attention_bias", default)?;
    (config.attention.bias, config.attention.output_bias) = (bias, bias);
    Ok(())
}

/// Which layers see a window, by `layer_types`; by `windowed` where a file does not have it.
fn windows(
    f: &mut Fields,
    config: &mut ModelConfig,
    window: Option<usize>,
    windowed: impl Fn(usize) -> bool,
) -> Result<(), ConfigError> {
    let types = f.take("layer_types");
    let count = config.layers.len();
    let told = match &types {
        None => (0..count).map(windowed).collect(),
        Some(Value::Array(types)) if types.len() == count => {
            let kind = |kind: &Value| match kind.as_str() {
                Some("full_attention") => Ok(false),
                Some("sliding_attention") => Ok(true),
                _ => Err(ConfigError::Unsupported {
                    field: "layer_types".into(),
                    found: kind.to_string(),
                    supported: "\"full_attention\" or \"sliding_attention\"".into(),
                }),
            };
            types.iter().map(kind).collect::<Result<Vec<_>, _>>()?
        }
        Some(_) => {
            return Err(ConfigError::Shape(format!("layer_types must be a list of {count}, one for each layer")));
        }
    };
    for (layer, windowed) in config.layers.iter_mut().zip(told) {
        if windowed {
            layer.window = Some(window.ok_or(ConfigError::Missing("sliding_window".into()))?);
        }
    }
    Ok(())
}
