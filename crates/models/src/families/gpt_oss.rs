//! gpt-oss (arXiv:2508.10925).

use serde_json::json;
use stateset_kernels::Gating;

use super::fields::Fields;
use super::{attention_bias, common, turn, windows};
use crate::config::{Experts, Packing};
use crate::{ConfigError, ModelConfig};

pub(super) fn gpt_oss(mut f: Fields) -> Result<ModelConfig, ConfigError> {
    packed_in_fours(&mut f)?;
    let mut config = common(&mut f, "gpt_oss")?;
    f.only("hidden_act", &[json!("silu")])?;
    turn(&mut f, &mut config, 150_000.0)?;
    let window = Some(f.count("sliding_window")?);
    windows(&mut f, &mut config, window, |i| i.is_multiple_of(2))?;
    attention_bias(&mut f, &mut config, true)?;
    config.attention.sinks = true;
    config.gating = Gating::Clamped {
        alpha: f.optional_number("swiglu_alpha")?.unwrap_or(1.702) as f32,
        limit: f.optional_number("swiglu_limit")?.unwrap_or(7.0) as f32,
    };
    let each = if f.has("num_experts_per_tok") { "num_experts_per_tok" } else { "experts_per_token" };
    let each = f.count(each)?;
    config.experts = Some(Experts {
        count: f.count("num_local_experts")?,
        each,
        intermediate: config.intermediate_size,
        normed: true,
        bias: true,
    });
    config.layers.iter_mut().for_each(|layer| layer.experts = true);
    config.packing = Packing::Interleaved;
    f.ignore(&[
        "experts_per_token",
        "initial_context_length",
        "output_router_logits",
        "rope_theta",
        "router_aux_loss_coef",
    ]);
    f.finish("gpt_oss")?;
    Ok(config)
}

/// Experts may be stored in MXFP4, which is undone as they are read; nothing else is.
fn packed_in_fours(f: &mut Fields) -> Result<(), ConfigError> {
    let Some(mut stored) = f.object("quantization_config")? else { return Ok(()) };
    stored.only("quant_method", &[json!("mxfp4")])
}
