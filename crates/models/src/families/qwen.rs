//! Qwen 2 (arXiv:2407.10671), Qwen 3 and its mixture of experts (arXiv:2505.09388).

use serde_json::{Value, json};

use super::fields::Fields;
use super::{attention_bias, common, turn, windows};
use crate::config::{Experts, HeadNorm};
use crate::{ConfigError, ModelConfig};

/// What the Qwens share.
fn qwen(f: &mut Fields, family: &'static str) -> Result<ModelConfig, ConfigError> {
    let mut config = common(f, family)?;
    f.only("hidden_act", &[json!("silu")])?;
    turn(f, &mut config, 10_000.0)?;
    Ok(config)
}

/// Layers from `max_window_layers` on see a window, if one is used.
fn late_windows(f: &mut Fields, config: &mut ModelConfig) -> Result<(), ConfigError> {
    let window = f.optional_count("sliding_window")?;
    let full = f.take("max_window_layers").and_then(|it| it.as_u64()).unwrap_or(28);
    if f.flag("use_sliding_window", false)? {
        windows(f, config, window, |i| i as u64 >= full)
    } else {
        windows(f, config, window, |_| false)
    }
}

pub(super) fn qwen2(mut f: Fields) -> Result<ModelConfig, ConfigError> {
    let mut config = qwen(&mut f, "qwen2")?;
    late_windows(&mut f, &mut config)?;
    config.attention.bias = true;
    f.finish("qwen2")?;
    Ok(config)
}

pub(super) fn qwen3(mut f: Fields) -> Result<ModelConfig, ConfigError> {
    let mut config = qwen(&mut f, "qwen3")?;
    late_windows(&mut f, &mut config)?;
    normed(&mut f, &mut config)?;
    f.finish("qwen3")?;
    Ok(config)
}

fn normed(f: &mut Fields, config: &mut ModelConfig) -> Result<(), ConfigError> {
    attention_bias(f, config, false)?;
    config.attention.head_norm = HeadNorm::Each;
    Ok(())
}

pub(super) fn qwen3_moe(mut f: Fields) -> Result<ModelConfig, ConfigError> {
    let mut config = qwen(&mut f, "qwen3_moe")?;
    normed(&mut f, &mut config)?;
    let window = f.optional_count("sliding_window")?;
    let used = f.flag("use_sliding_window", false)?;
    windows(&mut f, &mut config, window, |_| used)?;
    let count = if f.has("num_experts") { f.count("num_experts")? } else { f.count("num_local_experts")? };
    config.experts = Some(Experts {
        count,
        each: f.count("num_experts_per_tok")?,
        intermediate: f.count("moe_intermediate_size")?,
        normed: f.flag("norm_topk_prob", false)?,
        bias: false,
    });
    let step = f.optional_count("decoder_sparse_step")?.unwrap_or(1);
    let dense = match f.take("mlp_only_layers") {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_u64).collect(),
        Some(_) => return Err(ConfigError::Shape("mlp_only_layers must be a list of layers".into())),
    };
    for (i, layer) in config.layers.iter_mut().enumerate() {
        if (i + 1).is_multiple_of(step) && !dense.contains(&(i as u64)) {
            layer.experts = true;
        }
    }
    f.ignore(&["num_local_experts", "output_router_logits", "router_aux_loss_coef", "max_window_layers"]);
    f.finish("qwen3_moe")?;
    Ok(config)
}
