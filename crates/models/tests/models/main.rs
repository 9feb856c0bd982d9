//! The decoder against plain definitions, its two executors against each other, and everything it is stored as.

// Clippy lets only functions marked #[test] unwrap, not what they call.
#![allow(clippy::unwrap_used)]

mod adapters;
mod composed;
mod config;
mod decode;
mod families;
mod family_gradients;
mod fixture;
#[cfg(feature = "shim")]
mod gpu;
mod gradients;
mod halves;
mod mxfp4;
mod packing;
mod pretrained;
mod tokenizer;
mod weights;

use stateset_domain::Stream;
use stateset_models::{HostWeights, LlamaConfig, ModelConfig, PackedBatch};

fn config(tied: bool) -> ModelConfig {
    llama(tied).decoder().unwrap()
}

fn llama(tied: bool) -> LlamaConfig {
    LlamaConfig {
        architectures: vec!["LlamaForCausalLM".into()],
        model_type: "llama".into(),
        vocab_size: 37,
        hidden_size: 24,
        intermediate_size: 40,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        max_position_embeddings: 96,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: tied,
        hidden_act: "silu".into(),
        attention_bias: false,
        mlp_bias: false,
        rope_scaling: None,
        eos_token_id: 0,
        torch_dtype: "float32".into(),
    }
}

/// Weights large enough for distributions that are far from uniform, with norms that are not 1.
fn weights(tied: bool) -> HostWeights {
    let mut noise = Stream::new(2);
    HostWeights::random(&config(tied), 0.15, Stream::new(1))
        .map(|values| values.iter().map(|x| x + (0.1 * noise.normal()) as f32).collect())
}

/// `length` tokens below the vocabulary that depend on `seed` alone.
fn tokens(seed: u64, length: usize) -> Vec<u32> {
    let mut stream = Stream::new(seed);
    (0..length).map(|_| stream.below(37) as u32).collect()
}

/// Sequences of these lengths, every token scored.
fn batch(lengths: &[usize]) -> PackedBatch {
    let mut batch = PackedBatch::default();
    for (seed, length) in lengths.iter().enumerate() {
        batch.push(&tokens(seed as u64, *length), &vec![true; *length]);
    }
    batch
}
