//! The engine: requests in, completions out.

use std::collections::VecDeque;
use std::sync::Arc;

use stateset_domain::{
    Completion, Digest, Engine, EngineError, Finish, Finished, GenerateRequest, PolicySnapshot, PolicyVersion, Poll,
    Sampling, Tokenizer,
};
use stateset_kernels::cpu::Row;
use stateset_models::{Draw, LoraConfig, ModelConfig, ServedWeights};

use crate::runner::{Cpu, Runner};
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

/// Serves one decoder.
pub struct BatchEngine<R = Cpu> {
    vocab: usize,
    tokenizer: Arc<dyn Tokenizer>,
    limits: EngineLimits,
    runner: R,
    /// The version of the weights that are served.
    served: PolicyVersion,
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

impl EngineLimits {
    fn within(self, config: &ModelConfig) -> Self {
        Self { positions: self.positions.min(config.max_position_embeddings), ..self }
    }
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
    /// An engine on the CPU for decoders shaped like `config`; it serves nothing until a snapshot is loaded.
    #[must_use]
    pub fn new(config: &ModelConfig, tokenizer: Arc<dyn Tokenizer>, limits: EngineLimits) -> Self {
        let limits = limits.within(config);
        Self::with(config, tokenizer, limits, Cpu::new(config, limits.slots, limits.positions))
    }

    /// The same, of which every version is an adapter of `base` that adapts it as `lora` says.
    #[must_use]
    pub fn adapting(self, base: ServedWeights, lora: LoraConfig) -> Self {
        Self { runner: self.runner.adapting(base, lora), ..self }
    }

    /// The same, serving `weights` as version 0.
    #[must_use]
    pub fn serving(self, weights: ServedWeights) -> Self {
        Self { runner: self.runner.serving(weights), ..self }
    }
}

#[cfg(any(feature = "cuda", feature = "shim"))]
impl<D: stateset_kernels::cuda::Device> BatchEngine<crate::gpu::Gpu<D>> {
    /// An engine on `device` for decoders shaped like `config`; it serves nothing until a snapshot is loaded.
    ///
    /// # Errors
    /// [`EngineError::Compute`] if the family is not run on a GPU, or there is not as much memory.
    pub fn on(
        device: Arc<D>,
        config: &ModelConfig,
        tokenizer: Arc<dyn Tokenizer>,
        limits: EngineLimits,
    ) -> Result<Self, EngineError> {
        let limits = limits.within(config);
        let runner = crate::gpu::Gpu::new(device, config, limits.slots, limits.positions)?;
        Ok(Self::with(config, tokenizer, limits, runner))
    }
}

impl<R> BatchEngine<R> {
    fn with(config: &ModelConfig, tokenizer: Arc<dyn Tokenizer>, limits: EngineLimits, runner: R) -> Self {
        Self {
            vocab: config.vocab_size,
            tokenizer,
            limits,
            runner,
            served: PolicyVersion(0),
            slots: Slots::new(limits.slots),
            waiting: VecDeque::new(),
            live: Vec::new(),
        }
    }

    fn check(&self, request: &GenerateRequest) -> Result<(), EngineError> {
        let refuse = |reason: String| Err(EngineError::Request(reason));
        let (length, room) = (request.tokens.len(), self.limits.positions);
        if length == 0 || length >= room {
            return refuse(format!("{length} tokens; it must have at least 1 and leave room for a reply in {room}"));
        }
        if let Some(id) = request.tokens.iter().find(|id| **id as usize >= self.vocab) {
            return refuse(format!("token {id} is beyond the vocabulary of {}", self.vocab));
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
    fn share(&mut self) -> Result<(), EngineError>
    where
        R: Runner,
    {
        for live in &self.live {
            let held = self.slots.held(live.slot);
            if live.tokens.len() - held <= 1 {
                continue;
            }
            if let Some((from, shared)) = self.slots.better(live.slot, &live.tokens) {
                self.runner.copy(from, live.slot, shared)?;
                self.slots.extend(live.slot, &live.tokens[held..shared]);
            }
        }
        Ok(())
    }

    /// Feeds every live request and samples for those that have caught up with themselves.
    fn advance(&mut self) -> Result<(), EngineError>
    where
        R: Runner,
    {
        self.share()?;
        let readers = self.live.iter().map(|live| Reader { tokens: &live.tokens, held: self.slots.held(live.slot) });
        let readers: Vec<Reader<'_>> = readers.collect();
        let fed = feed(&pending(&readers), self.limits.step_tokens);
        let (mut tokens, mut rows, mut draws, mut drawing) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (index, (live, count)) in self.live.iter().zip(fed).enumerate() {
            let held = self.slots.held(live.slot);
            let next = &live.tokens[held..held + count];
            tokens.extend_from_slice(next);
            rows.extend((held..held + count).map(|position| Row { position, slot: live.slot }));
            self.slots.extend(live.slot, next);
            if count > 0 && held + count == live.tokens.len() {
                let GenerateRequest { sampling, stream, .. } = &live.request;
                let position = live.log_probs.len() as u64;
                draws.push(Draw { row: rows.len() - 1, sampling, stream: *stream, position });
                drawing.push(index);
            }
        }
        let choices = self.runner.step(&tokens, &rows, &draws)?;
        for (index, choice) in drawing.into_iter().zip(choices) {
            let live = &mut self.live[index];
            if !choice.log_prob.is_finite() {
                return Err(EngineError::Compute("logits are not finite".into()));
            }
            live.tokens.push(choice.token);
            live.log_probs.push(choice.log_prob);
        }
        Ok(())
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

impl<R: Runner> Engine for BatchEngine<R> {
    fn load(&mut self, snapshot: &PolicySnapshot) -> Result<Digest, EngineError> {
        // What stayed where it was learnt has not come by a way on which it could have changed.
        let adopted = snapshot.resident().is_some_and(|resident| self.runner.adopt(resident));
        let digest = if adopted {
            snapshot.digest()
        } else {
            let tensors = snapshot.tensors();
            let (loaded, digest) = rayon::join(|| self.runner.load(tensors), || PolicySnapshot::digest_of(tensors));
            loaded?;
            digest
        };
        self.served = snapshot.version();
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
        let version = self.served;
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
