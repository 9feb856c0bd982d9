//! The decoder with gradients, for training.

use std::convert::Infallible;

use stateset_kernels::cpu::{self, LogProb, Packed, Rope};
use thiserror::Error;

use crate::tape::{Input, Pool, Recorder, Tape};
use crate::{Decoder, Gradients, HostWeights, ModelConfig, decoder};

/// Sequences packed end to end, and the positions that are scored.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PackedBatch {
    /// Token ids of all sequences.
    pub tokens: Vec<u32>,
    /// Tokens of each sequence.
    pub lengths: Vec<usize>,
    /// Rows (into `tokens`) that predict a scored token.
    pub rows: Vec<u32>,
    /// The scored token of each such row.
    pub targets: Vec<u32>,
}

impl PackedBatch {
    /// Appends a sequence; token `i` is scored where `scored[i]`, predicted from what precedes it. The first is never scored: nothing
    /// precedes it. An empty sequence adds nothing.
    pub fn push(&mut self, tokens: &[u32], scored: &[bool]) {
        if tokens.is_empty() {
            return;
        }
        let start = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.lengths.push(tokens.len());
        for (i, token) in tokens.iter().enumerate().skip(1).filter(|(i, _)| scored[*i]) {
            self.rows.push((start + i - 1) as u32);
            self.targets.push(*token);
        }
    }
}

/// Why a batch cannot be scored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("sequence of {tokens} tokens exceeds the context of {context}")]
pub struct TooLong {
    /// Tokens of the longest sequence.
    pub tokens: usize,
    /// Tokens the model has positions for.
    pub context: usize,
}

/// A trainable decoder.
pub struct Autograd {
    weights: HostWeights,
    rope: Rope,
    pool: Pool,
}

/// What a forward pass found, and what the way back needs.
pub struct Scored {
    found: LogProb,
    targets: Vec<u32>,
    temperature: f32,
    tape: Tape,
}

impl Scored {
    /// Log-probability of every scored token, nats.
    #[must_use]
    pub fn log_probs(&self) -> &[f32] {
        &self.found.log_prob
    }

    /// Entropy of the distribution each was chosen from, nats.
    #[must_use]
    pub fn entropies(&self) -> &[f32] {
        &self.found.entropy
    }
}

impl Autograd {
    /// A trainable decoder that starts from `weights`.
    #[must_use]
    pub fn new(weights: HostWeights) -> Self {
        let config = &weights.config;
        let rope = Rope::new(config.max_position_embeddings, config.head_dim(), config.rope_theta);
        Self { weights, rope, pool: Pool::default() }
    }

    /// The shape of the decoder.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.weights.config
    }

    /// Its weights.
    #[must_use]
    pub fn weights(&self) -> &HostWeights {
        &self.weights
    }

    /// Its weights, to be moved.
    pub fn values_mut(&mut self) -> &mut Decoder<Vec<f32>> {
        &mut self.weights.values
    }

    /// Log-probability and entropy of every scored token under the distribution at `temperature`.
    ///
    /// # Errors
    /// If a sequence does not fit the context.
    pub fn score(&mut self, batch: &PackedBatch, temperature: f32) -> Result<Scored, TooLong> {
        let config = &self.weights.config;
        let (tokens, context) = (batch.lengths.iter().copied().max().unwrap_or(0), config.max_position_embeddings);
        if tokens > context {
            return Err(TooLong { tokens, context });
        }
        let packed = Packed {
            lengths: batch.lengths.clone(),
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim(),
        };
        let mut tape = Tape::new(Input {
            tokens: batch.tokens.clone(),
            rows: batch.rows.clone(),
            packed,
            hidden: config.hidden_size,
            eps: config.rms_norm_eps as f32,
        });
        let (mut places, weights) = (0.., slices(&self.weights));
        let Ok(decoder) = self.weights.values.try_map(|_| Ok::<_, Infallible>(places.next().unwrap_or_default()));
        let mut recorder = Recorder { tape: &mut tape, weights: &weights, rope: &self.rope, pool: &mut self.pool };
        let Ok(_) = decoder::logits(&mut recorder, &decoder);
        let found = cpu::log_prob(tape.last(), &batch.targets, temperature, config.vocab_size);
        Ok(Scored { found, targets: batch.targets.clone(), temperature, tape })
    }

    /// Adds to `gradients` those of every weight, from the slopes of the log-probabilities and of the entropies.
    pub fn backward(&mut self, scored: Scored, (log_prob, entropy): (&[f32], &[f32]), gradients: &mut Gradients) {
        let Scored { found, targets, temperature, tape } = scored;
        let seed = |logits: &[f32], d_logits: &mut [f32]| {
            cpu::log_prob_backward(logits, &targets, temperature, &found, (log_prob, entropy), d_logits);
        };
        tape.backward((&slices(&self.weights), &self.rope, &mut self.pool), seed, gradients);
    }
}

fn slices(weights: &HostWeights) -> Vec<&[f32]> {
    weights.values.iter().map(Vec::as_slice).collect()
}
