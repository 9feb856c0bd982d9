//! How much memory a training step takes, before it is taken.
//!
//! Everything large is known from shapes: the weights and their copies, what the optimizer keeps of every number that it moves, and what the
//! tape of a forward pass keeps of every token for the way back. A [`MemoryPlan`] is their sum, part by part, of what is held at once at
//! the worst moment of a step; [`Demand::within`] turns that around and asks for the most tokens of a forward pass that a budget allows.
//!
//! Every token of a forward pass is taken for one that is scored.

use std::fmt;
use std::ops::RangeInclusive;

use serde::Serialize;
use stateset_kernels::cpu::KEPT_LOGITS;
use stateset_models::ModelConfig;
use thiserror::Error;

/// Bytes of a number: everything is f32, but for weights that are only read.
const NUMBER: u64 = 4;

/// What a process takes that holds nothing yet, and what it takes beyond what is counted, as a part of that: buffers that fit loosely, and
/// what the allocator keeps. With both, no plan was below its measured peak (docs/running.md).
const PROGRAM: u64 = 80_000_000;
const SPARE: u64 = 16;

/// What is to be trained, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Bytes of the weights as they were loaded. They are shared by the reference, by what an adapter is learnt on, and by whoever is made anew.
    pub loaded: u64,
    /// Numbers of the adapter that is learnt in place of the policy's weights, if one is.
    pub adapter: Option<usize>,
    /// Whether there is a critic with a decoder of its own.
    pub critic: bool,
    /// Whether a step can be taken back.
    pub undoable: bool,
    /// Whether checkpoints are written.
    pub saves: bool,
    /// Tokens of one forward pass.
    pub micro_batch_tokens: usize,
    /// Whether only the input of each block is kept for the way back.
    pub activation_checkpointing: bool,
    /// The sampler beside the learner, if there is one.
    pub serving: Option<Serving>,
}

/// What a sampler holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serving {
    /// Conversations whose keys and values are kept.
    pub slots: usize,
    /// Tokens of one conversation.
    pub positions: usize,
    /// Tokens that are read in one step.
    pub step_tokens: usize,
}

/// A part of what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// Bytes.
    pub bytes: u64,
}

/// What is held at once at the worst moment of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Tokens of one forward pass.
    pub micro_batch_tokens: usize,
    /// Whether only the input of each block is kept.
    pub activation_checkpointing: bool,
    /// Bytes of what a token of a forward pass leaves for the way back.
    pub activation_bytes_per_token: u64,
    /// Everything, part by part.
    pub parts: Vec<Part>,
}

/// No forward pass is small enough for a budget.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a training step takes {} at the least, and may take {}\n{plan}", size(.plan.total()), size(*.budget))]
pub struct NothingFits {
    /// Bytes that may be taken.
    pub budget: u64,
    /// The least that would be.
    pub plan: MemoryPlan,
}

impl Demand {
    /// What a step of a decoder of shape `config` holds.
    #[must_use]
    pub fn plan(&self, config: &ModelConfig) -> MemoryPlan {
        let Self { loaded, adapter, critic, undoable, saves, micro_batch_tokens, activation_checkpointing, .. } = *self;
        let (weights, tokens) = (weights(config), micro_batch_tokens as u64);
        let policy = adapter.map_or(weights, |numbers| numbers as u64);
        let trained = policy + if critic { weights } else { 0 };
        let kept = if critic { 2 } else { 1 } * Widths::kept(config, activation_checkpointing);
        // A checkpoint is copied into bytes: the policy, then what the optimizer keeps. Both it and a snapshot are made between two gradients.
        let handed_over = if saves { (2 * policy).max(policy + 4 * trained) } else { policy };
        let widened = if loaded < NUMBER * weights { largest_matrix(config) } else { 0 };
        let logits = (tokens * config.vocab_size as u64).min(KEPT_LOGITS as u64);
        let mut parts = vec![
            ("weights as loaded", loaded),
            ("weights that learn", NUMBER * trained),
            ("weights at work", NUMBER * widened),
            ("gradients", NUMBER * trained),
            ("optimizer", NUMBER * 2 * trained),
            ("a step taken back", if undoable { NUMBER * 3 * trained } else { 0 }),
            ("snapshots and checkpoints", NUMBER * handed_over.saturating_sub(trained)),
            ("activations kept", NUMBER * tokens * kept),
            ("activations at work", NUMBER * tokens * Widths::at_work(config)),
            ("logits", NUMBER * logits),
        ];
        if let Some(serving) = &self.serving {
            // While new weights are laid out, the old ones still serve, and the snapshot is there for whoever is started anew.
            let embedding = (config.vocab_size * config.hidden_size) as u64;
            let tied = if config.tie_word_embeddings { embedding } else { 0 };
            let (below, laid_out) = if adapter.is_none() { (0, weights + tied) } else { (loaded, policy) };
            parts.push(("weights of the sampler", below + NUMBER * (2 * laid_out + policy)));
            parts.push(("keys and values", NUMBER * serving.keys_and_values(config)));
            parts.push(("sampler at work", NUMBER * serving.at_work(config)));
        }
        let counted: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
        parts.push(("program and allocator", PROGRAM + counted / SPARE));
        let part = |(name, bytes)| Part { name, bytes };
        MemoryPlan {
            micro_batch_tokens,
            activation_checkpointing,
            activation_bytes_per_token: NUMBER * kept,
            parts: parts.into_iter().map(part).filter(|part| part.bytes > 0).collect(),
        }
    }

    /// The same with as many `tokens` of a forward pass as `budget` bytes allow, and with activation checkpointing if not even the fewest
    /// fit without.
    ///
    /// # Errors
    /// [`NothingFits`] if even then the fewest do not fit.
    pub fn within(self, config: &ModelConfig, budget: u64, tokens: RangeInclusive<usize>) -> Result<Self, NothingFits> {
        let of = |activation_checkpointing, micro_batch_tokens| Self {
            activation_checkpointing,
            micro_batch_tokens,
            ..self
        };
        let fits = |demand: Self| demand.plan(config).total() <= budget;
        let (fewest, most) = tokens.into_inner();
        let checkpoints = self.activation_checkpointing || !fits(of(false, fewest));
        if !fits(of(checkpoints, fewest)) {
            return Err(NothingFits { budget, plan: of(true, fewest).plan(config) });
        }
        // What is held grows with the tokens, so that the last that fits can be found by halves.
        let (mut fitting, mut beyond) = (fewest, most.max(fewest) + 1);
        while beyond - fitting > 1 {
            let middle = fitting + (beyond - fitting) / 2;
            if fits(of(checkpoints, middle)) { fitting = middle } else { beyond = middle }
        }
        Ok(of(checkpoints, fitting))
    }
}

impl Serving {
    fn keys_and_values(&self, config: &ModelConfig) -> u64 {
        let positions = self.positions.min(config.max_position_embeddings);
        // Keys lie in blocks of 32 positions.
        let each = (positions.next_multiple_of(32) + positions) * config.num_key_value_heads * config.head_dim;
        (self.slots * each) as u64 * config.num_hidden_layers() as u64
    }

    fn at_work(&self, config: &ModelConfig) -> u64 {
        self.step_tokens as u64 * Widths::at_work(config) + (self.slots * config.vocab_size) as u64
    }
}

impl MemoryPlan {
    /// All parts, bytes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }
}

/// A line for each part, and one for all.
impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Part { name, bytes } in &self.parts {
            writeln!(f, "  {name:<26} {:>9}", size(*bytes))?;
        }
        let Self { micro_batch_tokens, activation_checkpointing, .. } = self;
        let checkpoints = if *activation_checkpointing { "with" } else { "without" };
        let how = format!("{micro_batch_tokens} tokens a forward pass, {checkpoints} activation checkpointing");
        write!(f, "  {:<26} {:>9}, at {how}", "in all", size(self.total()))
    }
}

/// In gigabytes, or megabytes if there are few.
fn size(bytes: u64) -> String {
    match bytes {
        few if few < 1_000_000_000 => format!("{:.1} MB", few as f64 / 1e6),
        many => format!("{:.2} GB", many as f64 / 1e9),
    }
}

/// Numbers of one copy of the weights.
fn weights(config: &ModelConfig) -> u64 {
    config.parameters().iter().map(|parameter| parameter.len() as u64).sum()
}

/// Numbers of the largest matrix that is widened at once: a head is widened in parts, an embedding row by row.
fn largest_matrix(config: &ModelConfig) -> u64 {
    let parameters = config.parameters();
    let edge = [Some(&parameters.embed), parameters.head.as_ref()];
    let inner = parameters.iter().filter(|it| edge.iter().flatten().all(|edge| edge.name != it.name));
    inner.map(|it| (it.len() / it.groups) as u64).max().unwrap_or(0)
}

/// Numbers a token.
struct Widths;

impl Widths {
    /// What the tape keeps for the way back.
    fn kept(config: &ModelConfig, checkpoints: bool) -> u64 {
        let hidden = config.hidden_size as u64;
        let blocks: Vec<u64> = (0..config.num_hidden_layers()).map(|layer| Self::of_block(config, layer)).collect();
        let kept = match checkpoints {
            // The block that is run again is kept whole meanwhile.
            true => blocks.len() as u64 * hidden + blocks.iter().max().copied().unwrap_or(0),
            false => blocks.iter().sum(),
        };
        // The last state before and after its norm, and the gradient of that.
        kept + 3 * hidden
    }

    /// What a block keeps: the inputs of its norms, queries, keys and values (before and after norms of heads), what attention found and
    /// the sum that it divided by, and gates beside values. What norms and gates make is made again.
    fn of_block(config: &ModelConfig, layer: usize) -> u64 {
        let (hidden, kinds) = (config.hidden_size, config.parameters());
        let block = &kinds.layers[layer];
        let qkv = if block.head_norms.is_some() { 2 * config.qkv_rows() } else { config.qkv_rows() };
        let attended = config.num_attention_heads * (config.head_dim + 1);
        let norms = [&block.output_norm, &block.fed_norm].into_iter().flatten().count();
        let residual = (2 + norms) * (hidden + 1);
        let fed = match config.experts.filter(|_| config.layers[layer].experts) {
            // A route is an expert, its weight and the places of its visit.
            Some(experts) => experts.count + experts.each * (2 * experts.intermediate + 8),
            None => 2 * config.intermediate_size,
        };
        (qkv + attended + residual + fed) as u64
    }

    /// What the operation that needs most has in its hands on the way back, when everything else is still kept: gradients, and what is made
    /// again. Gates and values become their own gradients. What a reference holds on its way is less.
    fn at_work(config: &ModelConfig) -> u64 {
        let hidden = config.hidden_size;
        let dense = 2 * config.intermediate_size;
        let experts = config.experts.map_or(0, |it| it.each * (4 * it.intermediate + 3 * hidden));
        let attention = config.qkv_rows() + config.num_attention_heads * config.head_dim;
        (3 * hidden + dense.max(experts).max(attention)) as u64
    }
}
