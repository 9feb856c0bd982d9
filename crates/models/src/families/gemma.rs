//! Gemma 2 (arXiv:2408.00118) and the text decoder of Gemma 3 (arXiv:2503.19786).

use serde_json::json;
use stateset_kernels::Gating;

use super::fields::Fields;
use super::rope::{Heads, stretched};
use super::{attention_bias, common, turn, windows};
use crate::config::{HeadNorm, Norms, RopeTable};
use crate::{ConfigError, ModelConfig};

/// What both share, but for positions and windows.
fn gemma(f: &mut Fields, family: &'static str) -> Result<ModelConfig, ConfigError> {
    let mut config = common(f, family)?;
    f.only("hidden_activation", &[json!("gelu_pytorch_tanh")])?;
    f.only("hidden_act", &[json!("gelu_pytorch_tanh")])?;
    f.only("use_bidirectional_attention", &[json!(false)])?;
    config.tie_word_embeddings = f.flag("tie_word_embeddings", true)?;
    config.gating = Gating::GeluTanh;
    config.norms = Norms::Both;
    config.norms_about_one = true;
    config.embedding_scale = (config.hidden_size as f32).sqrt();
    config.logit_soft_cap = f.optional_number("final_logit_softcapping")?.map(|cap| cap as f32);
    config.attention.soft_cap = f.optional_number("attn_logit_softcapping")?.map(|cap| cap as f32);
    config.attention.scale = (1.0 / f.number("query_pre_attn_scalar")?.sqrt()) as f32;
    attention_bias(f, &mut config, false)?;
    Ok(config)
}

pub(super) fn gemma2(mut f: Fields) -> Result<ModelConfig, ConfigError> {
    let mut config = gemma(&mut f, "gemma2")?;
    turn(&mut f, &mut config, 10_000.0)?;
    let window = Some(f.count("sliding_window")?);
    windows(&mut f, &mut config, window, |i| i.is_multiple_of(2))?;
    f.finish("gemma2")?;
    Ok(config)
}

pub(super) fn gemma3(mut f: Fields) -> Result<ModelConfig, ConfigError> {
    let mut config = gemma(&mut f, "gemma3_text")?;
    config.attention.head_norm = HeadNorm::Each;
    let window = Some(f.count("sliding_window")?);
    let pattern = match f.optional_count("sliding_window_pattern")? {
        Some(pattern) => pattern,
        None => f.optional_count("_sliding_window_pattern")?.unwrap_or(6),
    };
    f.ignore(&["_sliding_window_pattern"]);
    windows(&mut f, &mut config, window, |i| !(i + 1).is_multiple_of(pattern))?;
    two_tables(&mut f, &mut config)?;
    for layer in &mut config.layers {
        layer.rope = Some(usize::from(layer.window.is_some()));
    }
    f.finish("gemma3_text")?;
    Ok(config)
}

/// A table for layers that see everything, and one for those with a window.
fn two_tables(f: &mut Fields, config: &mut ModelConfig) -> Result<(), ConfigError> {
    let heads = Heads { head_dim: config.head_dim, positions: config.max_position_embeddings, theta: 1_000_000.0 };
    let local = f.optional_number("rope_local_base_freq")?.unwrap_or(10_000.0);
    let nested = f.object("rope_parameters")?.filter(|it| it.has("full_attention") || it.has("sliding_attention"));
    let Some(mut nested) = nested else {
        // The older way: one way to stretch, for layers that see everything.
        turn(f, config, heads.theta)?;
        let frequencies = super::rope::frequencies(Heads { theta: local, ..heads }, None)?;
        config.ropes.push(RopeTable { frequencies, factor: 1.0 });
        return Ok(());
    };
    for (name, theta) in [("full_attention", heads.theta), ("sliding_attention", local)] {
        let mut f = nested.object(name)?.ok_or(ConfigError::Missing(format!("rope_parameters.{name}")))?;
        config.ropes.push(stretched(&mut f, Heads { theta, ..heads }, None, None)?.table);
        f.finish(config.family)?;
    }
    nested.finish(config.family)
}
