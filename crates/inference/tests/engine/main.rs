//! What a request is answered depends on its tokens, the weights and its own random stream, and on nothing else.

// Clippy lets only functions marked #[test] unwrap, not what they call.
#![allow(clippy::unwrap_used)]

mod adapters;
mod company;
mod groups;
mod limits;
mod swaps;
mod turns;

use std::collections::BTreeMap;
use std::sync::Arc;

use stateset_domain::{
    Completion, Engine, GenerateRequest, PolicySnapshot, PolicyVersion, RequestId, Sampling, Stream, Tokenizer,
    TokenizerError,
};
use stateset_inference::{BatchEngine, EngineLimits};
use stateset_models::{HostWeights, LlamaConfig, ModelConfig};

/// Letters from `a`; ids from 26 have no text.
struct Letters;

impl Tokenizer for Letters {
    fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        Ok(text.bytes().map(|letter| u32::from(letter - b'a')).collect())
    }

    fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        let letter = |id: &u32| char::from_digit(id + 10, 36).ok_or_else(|| TokenizerError(format!("{id} is unknown")));
        ids.iter().map(letter).collect()
    }

    fn special(&self, _token: &str) -> Option<u32> {
        None
    }

    fn specials(&self) -> Vec<String> {
        Vec::new()
    }

    fn encode_marked(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encode(text)
    }
}

fn config() -> ModelConfig {
    llama().decoder().unwrap()
}

fn llama() -> LlamaConfig {
    LlamaConfig {
        architectures: vec!["LlamaForCausalLM".into()],
        model_type: "llama".into(),
        vocab_size: 26,
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        max_position_embeddings: 128,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: true,
        hidden_act: "silu".into(),
        attention_bias: false,
        mlp_bias: false,
        rope_scaling: None,
        eos_token_id: 0,
        torch_dtype: "float32".into(),
    }
}

/// The policy of `seed`, at version `seed`.
fn snapshot(seed: u64) -> PolicySnapshot {
    let weights = HostWeights::random(&config(), 0.15, Stream::new(seed));
    PolicySnapshot::new(PolicyVersion(seed), weights.to_tensors())
}

const LIMITS: EngineLimits = EngineLimits { slots: 64, positions: 96, step_tokens: 256 };

/// An engine that serves policy 1.
fn engine(limits: EngineLimits) -> BatchEngine {
    let mut engine = BatchEngine::new(&config(), Arc::new(Letters), limits);
    engine.load(&snapshot(1)).unwrap();
    engine
}

/// Asks for up to 20 tokens after a prompt that depends on `conversation` alone.
fn request(conversation: u64) -> GenerateRequest {
    let mut stream = Stream::new(conversation);
    let length = 1 + stream.below(40);
    GenerateRequest {
        id: RequestId(1000 + conversation),
        conversation,
        tokens: (0..length).map(|_| stream.below(26) as u32).collect(),
        sampling: Sampling { max_tokens: 20, ..Sampling::default() },
        stop_tokens: vec![25],
        stream: Stream::new(7).fork(conversation),
    }
}

/// Steps until nothing is live; replies by request.
fn finish(engine: &mut BatchEngine) -> BTreeMap<u64, Completion> {
    let mut replies = BTreeMap::new();
    for _ in 0..10_000 {
        let poll = engine.step().unwrap();
        replies.extend(poll.finished.into_iter().map(|finished| (finished.id.0, finished.completion)));
        if poll.live == 0 {
            return replies;
        }
    }
    panic!("requests that never end");
}

fn answer(engine: &mut BatchEngine, request: GenerateRequest) -> Completion {
    let id = request.id.0;
    engine.submit(request).unwrap();
    finish(engine).remove(&id).unwrap()
}

fn answers(engine: &mut BatchEngine, conversations: impl IntoIterator<Item = u64>) -> BTreeMap<u64, Completion> {
    conversations.into_iter().for_each(|conversation| engine.submit(request(conversation)).unwrap());
    finish(engine)
}
