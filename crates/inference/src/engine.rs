//! The engine: requests in, completions out.

use std::collections::VecDeque;
use std::sync::Arc;

use rayon::prelude::*;
use stateset_domain::{
    Completion, Digest, Engine, EngineError, Finish, Finished, GenerateRequest, PolicySnapshot, PolicyVersion, Poll,
    Sampling, Tokenizer,
};
use stateset_kernels::cpu::Row;
use stateset_models::{Choice, Decode, HostAdapter, LoraConfig, ModelConfig, Sampler, ServedWeights};

use crate::schedule::{Reader, feed, pending};
use crate::slots::Slots;

/// How much an engine takes on at once.
#[derive(Debug, Clone, Copy)]
pub struct EngineLimits {
    /// Conversations whose prefixes are kept.
    pub slots: usize,
    /// Tokens of one conversation.
    pub positions: usize,
    /// Tokens fed in one step.
    pub step_tokens: usize,
}

/// Serves one decoder on the CPU.
pub struct BatchEngine {
    config: ModelConfig,
    tokenizer: Arc<dyn Tokenizer>,
    limits: EngineLimits,
    decode: Decode,
    /// What versions are adapters of, if they are no whole weights.
    base: Option<(ServedWeights, LoraConfig)>,
    served: Option<(PolicyVersion, ServedWeights)>,
    slots: Slots,
    waiting: VecDeque<GenerateRequest>,
    live: Vec<Live>,
}

/// A request that has a slot.
struct Live {
    request: GenerateRequest,
    slot: usize,
    /// The conversation so far: the request's tokens, then what was sampled.
    tokens: Vec<u32>,
    log_probs: Vec<f32>,
}

impl Live {
    fn sampled(&self) -> &[u32] {
        &self.tokens[self.request.tokens.len()..]
    }

    fn restart(&mut self) {
        self.tokens.truncate(self.request.tokens.len());
        self.log_probs.clear();
    }
}

impl BatchEngine {
    /// An engine for decoders shaped like `config`; it serves nothing until a snapshot is loaded.
    #[must_use]
    pub fn new(config: &ModelConfig, tokenizer: Arc<dyn Tokenizer>, limits: EngineLimits) -> Self {
        let positions = limits.positions.min(config.max_position_embeddings);
        let limits = EngineLimits { positions, ..limits };
        Self {
            config: config.clone(),
            tokenizer,
            limits,
            decode: Decode::new(config, limits.slots, positions),
            base: None,
            served: None,
            slots: Slots::new(limits.slots),
            waiting: VecDeque::new(),
            live: Vec::new(),
        }
    }

    /// The same, of which every version is an adapter of `base` that adapts it as `lora` says.
    #[must_use]
    pub fn adapting(self, base: ServedWeights, lora: LoraConfig) -> Self {
        Self { base: Some((base, lora)), ..self }
    }

    /// The same, serving `weights` as version 0.
    #[must_use]
    pub fn serving(self, weights: ServedWeights) -> Self {
        Self { served: Some((PolicyVersion(0), weights)), ..self }
    }

    fn weights_of(&self, snapshot: &PolicySnapshot) -> Result<ServedWeights, EngineError> {
        let tensors = snapshot.tensors();
        let refused = |error: &dyn std::fmt::Display| EngineError::Snapshot(error.to_string());
        match &self.base {
            None => ServedWeights::new(&self.config, tensors).map_err(|error| refused(&error)),
            Some((base, lora)) => HostAdapter::from_tensors(&self.config, lora.clone(), tensors)
                .map(|adapter| base.adapted(&adapter))
                .map_err(|error| refused(&error)),
        }
    }

    fn check(&self, request: &GenerateRequest) -> Result<(), EngineError> {
        let refuse = |reason: String| Err(EngineError::Request(reason));
        let (length, room) = (request.tokens.len(), self.limits.positions);
        if length == 0 || length >= room {
            return refuse(format!("{length} tokens; it must have at least 1 and leave room for a reply in {room}"));
        }
        if let Some(id) = request.tokens.iter().find(|id| **id as usize >= self.config.vocab_size) {
            return refuse(format!("token {id} is beyond the vocabulary of {}", self.config.vocab_size));
        }
        let Sampling { temperature, top_p, min_p, max_tokens, .. } = &request.sampling;
        if !(*temperature >= 0.0 && temperature.is_finite()) {
            return refuse(format!("temperature {temperature} is not 0 or more"));
        }
        if !(*top_p > 0.0 && *top_p <= 1.0 && (0.0..=1.0).contains(min_p) && *max_tokens > 0) {
            return refuse(format!("top_p {top_p}, min_p {min_p} or max_tokens {max_tokens} is out of range"));
        }
        let same = |other: &GenerateRequest| other.conversation == request.conversation;
        if self.waiting.iter().any(same) || self.live.iter().any(|live| same(&live.request)) {
            return refuse(format!("conversation {} already has a live request", request.conversation));
        }
        Ok(())
    }

    fn admit(&mut self) {
        while let Some(request) = self.waiting.front() {
            let Some(slot) = self.slots.acquire(request.conversation, &request.tokens) else { return };
            let Some(request) = self.waiting.pop_front() else { return };
            self.live.push(Live { tokens: request.tokens.clone(), request, slot, log_probs: Vec::new() });
        }
    }

    /// Copies what another slot holds of a prompt that is still to be read: a group's prompt is computed once.
    fn share(&mut self) {
        for live in &self.live {
            let held = self.slots.held(live.slot);
            if live.tokens.len() - held <= 1 {
                continue;
            }
            if let Some((from, shared)) = self.slots.better(live.slot, &live.tokens) {
                self.decode.copy(from, live.slot, shared);
                self.slots.extend(live.slot, &live.tokens[held..shared]);
            }
        }
    }

    /// Feeds every live request and samples for those that have caught up with themselves.
    fn advance(&mut self) -> Result<(), EngineError> {
        let Some((_, weights)) = &self.served else {
            return Err(EngineError::Compute("no weights are loaded".into()));
        };
        let readers = self.live.iter().map(|live| Reader { tokens: &live.tokens, held: self.slots.held(live.slot) });
        let readers: Vec<Reader<'_>> = readers.collect();
        let fed = feed(&pending(&readers), self.limits.step_tokens);
        let (mut tokens, mut rows, mut selected, mut samplers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (index, (live, count)) in self.live.iter().zip(fed).enumerate() {
            let held = self.slots.held(live.slot);
            let next = &live.tokens[held..held + count];
            tokens.extend_from_slice(next);
            rows.extend((held..held + count).map(|position| Row { position, slot: live.slot }));
            self.slots.extend(live.slot, next);
            if count > 0 && held + count == live.tokens.len() {
                selected.push(rows.len() - 1);
                samplers.push(index);
            }
        }
        let mut logits = self.decode.step(weights, &tokens, &rows, &selected);
        let choices = self.choose(&mut logits, &samplers);
        self.decode.recycle(logits);
        for (index, choice) in samplers.into_iter().zip(choices) {
            let live = &mut self.live[index];
            if !choice.log_prob.is_finite() {
                return Err(EngineError::Compute("logits are not finite".into()));
            }
            live.tokens.push(choice.token);
            live.log_probs.push(choice.log_prob);
        }
        Ok(())
    }

    fn choose(&self, logits: &mut [f32], samplers: &[usize]) -> Vec<Choice> {
        let rows = logits.par_chunks_mut(self.config.vocab_size).zip(samplers).with_min_len(8);
        let choose = |sampler: &mut Sampler, (row, index): (&mut [f32], &usize)| {
            let live = &self.live[*index];
            let u = live.request.stream.uniform_at(live.log_probs.len() as u64);
            sampler.choose(row, &live.request.sampling, u)
        };
        rows.map_init(Sampler::default, choose).collect()
    }

    fn finish(&self, live: &Live) -> Option<Finish> {
        let (sampled, request) = (live.sampled(), &live.request);
        let last = sampled.last()?;
        if request.stop_tokens.contains(last) || self.holds_stop_text(sampled, &request.sampling.stop) {
            return Some(Finish::Stop);
        }
        let full = sampled.len() >= request.sampling.max_tokens || live.tokens.len() >= self.limits.positions;
        full.then_some(Finish::Length)
    }

    /// Whether the last token ends one of `stop`. Only the end of the reply is read: as many tokens as the longest of them has bytes, and
    /// some more for characters that are cut; twice as many if tokens without text are among them, and so on.
    /// Ids that have no text hold none; whoever reads the reply is told of them.
    fn holds_stop_text(&self, sampled: &[u32], stop: &[String]) -> bool {
        let Some(longest) = stop.iter().map(String::len).max() else { return false };
        let enough = longest + 12;
        let mut window = enough;
        loop {
            let end = &sampled[sampled.len().saturating_sub(window)..];
            let Ok(text) = self.tokenizer.decode(end) else { return false };
            if stop.iter().any(|stop| text.contains(stop)) {
                return true;
            }
            if end.len() == sampled.len() || text.len() >= enough {
                return false;
            }
            window *= 2;
        }
    }
}

impl Engine for BatchEngine {
    fn load(&mut self, snapshot: &PolicySnapshot) -> Result<Digest, EngineError> {
        let lay_out = || self.weights_of(snapshot);
        let (weights, digest) = rayon::join(lay_out, || PolicySnapshot::digest_of(snapshot.tensors()));
        self.served = Some((snapshot.version(), weights?));
        self.slots.forget();
        self.live.iter_mut().for_each(Live::restart);
        Ok(digest)
    }

    fn submit(&mut self, request: GenerateRequest) -> Result<(), EngineError> {
        self.check(&request)?;
        self.waiting.push_back(request);
        Ok(())
    }

    fn step(&mut self) -> Result<Poll, EngineError> {
        self.admit();
        self.share();
        if self.live.is_empty() {
            return Ok(Poll { finished: Vec::new(), live: self.waiting.len() });
        }
        // A scope runs its body on a pool worker, which spares every kernel a wake-up from outside.
        if let Err(error) = rayon::scope(|_| self.advance()) {
            self.waiting.clear();
            self.live.drain(..).for_each(|lost| self.slots.release(lost.request.conversation));
            self.slots.forget();
            return Err(error);
        }
        let version = self.served.as_ref().map(|(version, _)| *version).unwrap_or_default();
        let mut finished = Vec::new();
        let mut still = Vec::with_capacity(self.live.len());
        for live in std::mem::take(&mut self.live) {
            let Some(finish) = self.finish(&live) else {
                still.push(live);
                continue;
            };
            self.slots.idle(live.request.conversation);
            let tokens = live.sampled().to_vec();
            let completion = Completion { tokens, log_probs: live.log_probs, version, finish };
            finished.push(Finished { id: live.request.id, completion });
        }
        self.live = still;
        Ok(Poll { finished, live: self.live.len() + self.waiting.len() })
    }

    fn release(&mut self, conversation: u64) {
        self.waiting.retain(|request| request.conversation != conversation);
        self.live.retain(|live| live.request.conversation != conversation);
        self.slots.release(conversation);
    }
}
