//! The decoder on a GPU: for generation with a key-value cache, and for training with a walk back.
//!
//! Weights, activations and gradients are f32, products are rounded to TF32 by tensor cores. Everything is over a [`Device`], so that the
//! same text runs in tests where there is no GPU. Of the families, the plain ones are run: [`refusal`] names what is not.

mod backward;
mod decode;
mod head;
mod recording;
mod tape;
mod weights;

use stateset_kernels::Gating;
use stateset_kernels::cuda::{DeviceError, Span};
use thiserror::Error;

use crate::config::HeadNorm;
use crate::{ModelConfig, WeightError};

pub use decode::GpuDecode;
pub use recording::{GpuDecoder, GpuRecording};
pub use weights::GpuWeights;

/// Why a decoder is not on a device.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GpuError {
    /// The tensors are not its weights.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The family does what is only done on the CPU.
    #[error("{0} are only computed on the CPU")]
    Family(&'static str),
    /// A sequence is too long, or a token is none.
    #[error("{0}")]
    Batch(String),
}

/// What a decoder has that is only done on the CPU, if anything.
#[must_use]
pub fn refusal(config: &ModelConfig) -> Option<&'static str> {
    let ModelConfig { attention, head_dim, .. } = config;
    let plain = (1.0 / (*head_dim as f64).sqrt()) as f32;
    let partly_turned = config.ropes.iter().any(|rope| 2 * rope.frequencies.len() != *head_dim);
    let reasons = [
        (config.experts.is_some(), "experts"),
        (attention.sinks, "attention sinks"),
        (attention.soft_cap.is_some() || config.logit_soft_cap.is_some(), "soft caps"),
        ((attention.scale - plain).abs() > 1e-6 * plain, "attention scaled by something else than its heads' width"),
        (attention.head_norm == HeadNorm::Together, "a norm over all heads together"),
        (config.layers.iter().any(|layer| layer.window.is_some()), "sliding windows"),
        (config.layers.iter().any(|layer| layer.rope.is_none()) || partly_turned, "heads that are not turned whole"),
        (config.gating != Gating::Silu, "a gate that is not SwiGLU's"),
        (config.embedding_scale != 1.0, "scaled embeddings"),
        (config.hidden_size > 8192, "states wider than 8192"),
    ];
    reasons.iter().find(|(there, _)| *there).map(|(_, reason)| *reason)
}

/// Which columns of fused queries, keys and values are normed.
fn normed_heads(config: &ModelConfig) -> [Span; 2] {
    let (width, queries) = (config.qkv_rows(), config.num_attention_heads);
    let start = queries * config.head_dim;
    [Span { width, start: 0, groups: queries }, Span { width, start, groups: config.num_key_value_heads }]
}
