//! A model run for a moment, by the sampler and by the trainer.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;
use stateset_domain::{Completion, Engine, GenerateRequest, RequestId, Sampling, Stream, Tokenizer};
use stateset_inference::{BatchEngine, EngineLimits};
use stateset_models::{Autograd, PackedBatch, Pretrained, ServedWeights};

use super::Prompt;
use crate::runtime::STEP_TOKENS;

/// Tokens of the prompt that is read to see how fast that is.
const READ: usize = 256;
/// Tokens that are then sampled.
const SAMPLED: usize = 32;
/// Tokens of the greedy reply.
const REPLY: usize = 12;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Trial {
    /// The likeliest reply to a greeting, or how a text is likeliest to go on.
    pub(crate) reply: String,
    /// The largest difference between a sampled token's log-probability as the sampler and as the trainer finds it, nats.
    pub(crate) log_prob_gap: f64,
    /// How many tokens were compared.
    pub(crate) compared: usize,
    /// Tokens of a prompt that the sampler reads, a second.
    pub(crate) prefill_per_second: f64,
    /// Tokens that it samples in one conversation, a second.
    pub(crate) decode_per_second: f64,
}

impl Trial {
    /// Runs `model`: on `prompt`, or on a word if it has none that its context can hold.
    pub(super) fn of(model: &Pretrained, prompt: Option<Prompt>) -> Result<Self> {
        let config = &model.weights.config;
        let context = config.max_position_embeddings;
        let prompt = prompt.filter(|prompt| prompt.tokens.len() < context);
        let room = context.min(READ + SAMPLED);
        let positions = room.max(prompt.as_ref().map_or(0, |prompt| context.min(prompt.tokens.len() + REPLY)));
        let limits = EngineLimits { slots: 1, positions, step_tokens: STEP_TOKENS };
        let weights = ServedWeights::of(&model.weights);
        let mut engine = BatchEngine::new(config, Arc::new(model.tokenizer.clone()), limits).serving(weights);
        let prompt = match prompt {
            Some(prompt) => prompt,
            None => Prompt { tokens: model.tokenizer.encode("Hello")?, stop: config.eos_token_ids.clone() },
        };
        let greedy = Sampling { max_tokens: REPLY, ..Sampling::default() }.greedy();
        let (reply, _) = generate(&mut engine, &prompt.tokens, greedy, prompt.stop)?;
        let reply = model.tokenizer.decode(&reply.tokens)?;
        let read = READ.min(room / 2).max(1);
        let mut stream = Stream::new(0);
        let mut tokens: Vec<u32> = (0..read).map(|_| stream.below(config.vocab_size) as u32).collect();
        let sampling = Sampling { max_tokens: SAMPLED.min(room - read), ..Sampling::default() };
        let (sampled, [first, rest]) = generate(&mut engine, &tokens, sampling, Vec::new())?;
        tokens.extend(&sampled.tokens);
        Ok(Self {
            reply,
            log_prob_gap: gap(model, &tokens, &sampled.log_probs)?,
            compared: sampled.tokens.len(),
            prefill_per_second: read as f64 / first,
            // The first token comes with the prompt.
            decode_per_second: (sampled.tokens.len() - 1) as f64 / rest.max(f64::MIN_POSITIVE),
        })
    }
}

/// A reply to `tokens`; the seconds of its first token, the prompt's reading included, and of the others.
fn generate(
    engine: &mut BatchEngine,
    tokens: &[u32],
    sampling: Sampling,
    stop_tokens: Vec<u32>,
) -> Result<(Completion, [f64; 2])> {
    let stream = Stream::new(1);
    let (id, tokens) = (RequestId(0), tokens.to_vec());
    engine.submit(GenerateRequest { id, conversation: 0, tokens, sampling, stop_tokens, stream })?;
    let begun = Instant::now();
    let mut poll = engine.step()?;
    let first = begun.elapsed().as_secs_f64();
    while poll.finished.is_empty() {
        poll = engine.step()?;
    }
    engine.release(0);
    let finished = poll.finished.pop().context("the engine finished a request that it does not tell")?;
    Ok((finished.completion, [first, begun.elapsed().as_secs_f64() - first]))
}

/// The largest difference between `sampled`, the sampler's log-probabilities of the last of `tokens`, and the trainer's.
fn gap(model: &Pretrained, tokens: &[u32], sampled: &[f32]) -> Result<f64> {
    let scored: Vec<bool> = (0..tokens.len()).map(|at| at + sampled.len() >= tokens.len()).collect();
    let mut batch = PackedBatch::default();
    batch.push(tokens, &scored);
    let [found, _] = Autograd::frozen(&model.weights).log_probs(&batch, 1.0)?;
    let off = found.iter().zip(sampled).map(|(a, b)| f64::from((a - b).abs()));
    Ok(off.fold(0.0, f64::max))
}
