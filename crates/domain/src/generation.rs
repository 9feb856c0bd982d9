//! Asking for text: sampling parameters, requests and completions.

use serde::{Deserialize, Serialize};

use crate::{PolicyVersion, RequestId, Stream};

/// How the next token is chosen. Filters apply in the order temperature, top-k, top-p, min-p.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Divides the logits; 0 is greedy. Default 1.
    pub temperature: f32,
    /// Keep the `k` most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of most likely tokens that holds this much probability; 1 keeps all.
    pub top_p: f32,
    /// Drop tokens less likely than this share of the most likely one; 0 keeps all.
    pub min_p: f32,
    /// At most this many tokens a reply.
    pub max_tokens: usize,
    /// Texts that end a reply when they appear in it; the text itself is kept.
    pub stop: Vec<String>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, max_tokens: 64, stop: Vec::new() }
    }
}

impl Sampling {
    /// The same limits, choosing the most likely token every time.
    #[must_use]
    pub fn greedy(&self) -> Self {
        Self { temperature: 0.0, ..self.clone() }
    }
}

/// A request to continue a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// Names the request; unique among the engine's live requests.
    pub id: RequestId,
    /// Names the conversation: the engine keeps its prefix between requests until [`Engine::release`](crate::Engine::release).
    pub conversation: u64,
    /// Every token of the conversation so far.
    pub tokens: Vec<u32>,
    /// How to choose.
    pub sampling: Sampling,
    /// Token ids that end the reply (the id itself is kept, with its log-prob).
    pub stop_tokens: Vec<u32>,
    /// Where the randomness comes from: position `i` chooses the `i`-th new token.
    pub stream: Stream,
}

/// Why a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// A stop token or stop text was sampled.
    Stop,
    /// The token limit, or the context, was reached.
    Length,
}

/// What was sampled.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The new tokens.
    pub tokens: Vec<u32>,
    /// Log-probability (nats) of each under the distribution it was sampled from; under the full distribution when greedy.
    pub log_probs: Vec<f32>,
    /// The policy version that sampled all of them.
    pub version: PolicyVersion,
    /// Why it ended.
    pub finish: Finish,
}

/// A request that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// The request.
    pub id: RequestId,
    /// Its reply.
    pub completion: Completion,
}

/// What one step of an engine brought.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Poll {
    /// Requests that ended in this step.
    pub finished: Vec<Finished>,
    /// Requests still running or waiting.
    pub live: usize,
}
