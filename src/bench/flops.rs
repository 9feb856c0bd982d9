//! Floating-point operations that must be done, two for each multiply-add.
//!
//! Counted are matrix products: projections over every position, attention over the positions that are seen, the head over the positions at
//! which a token is scored, and so what stands behind the last block's attention. Norms, rotations, gates and softmax are not, nor is anything that is computed twice where once would do: a prompt
//! that a group shares counts once. A gradient costs twice its forward pass.

use std::ops::Range;

use stateset_models::ModelConfig;

/// What a forward pass, or passes, over conversations comes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conversations {
    /// Positions of each conversation that go through the blocks.
    pub(crate) positions: Vec<usize>,
    /// How many of its tokens are scored or sampled.
    pub(crate) scored: Vec<usize>,
    /// How many conversations in a row share their beginning.
    pub(crate) group: usize,
    /// Tokens of that beginning.
    pub(crate) shared: usize,
}

impl Conversations {
    /// Operations of one forward pass.
    pub(crate) fn forward(&self, config: &ModelConfig) -> f64 {
        let (mut blocks, mut heads) = (0.0, 0);
        for (positions, scored) in self.positions.chunks(self.group).zip(self.scored.chunks(self.group)) {
            let shared = if positions.len() > 1 { self.shared } else { 0 };
            blocks += over(config, 0..shared);
            blocks += positions.iter().map(|end| over(config, shared..*end)).sum::<f64>();
            // The first token of each reply to the shared beginning is drawn from the same row of logits.
            heads += scored.iter().sum::<usize>() - if shared > 0 { scored.len() - 1 } else { 0 };
        }
        let last = config.num_hidden_layers() - 1;
        let each = feed(config, last) + config.hidden_size * config.vocab_size;
        blocks + 2.0 * heads as f64 * each as f64
    }
}

/// Weights of a block that a token meets behind attention: of the last block, only what is scored goes through them.
fn feed(config: &ModelConfig, layer: usize) -> usize {
    let (hidden, queries) = (config.hidden_size, config.num_attention_heads * config.head_dim);
    let fed = match config.experts.filter(|_| config.layers[layer].experts) {
        Some(experts) => hidden * experts.count + 3 * hidden * experts.each * experts.intermediate,
        None => 3 * hidden * config.intermediate_size,
    };
    queries * hidden + fed
}

/// Operations of every block over `positions` of one conversation, but for what stands behind the last one's attention.
fn over(config: &ModelConfig, positions: Range<usize>) -> f64 {
    let (last, queries) = (config.num_hidden_layers() - 1, config.num_attention_heads * config.head_dim);
    let block = |layer: usize| {
        let weights = config.hidden_size * config.qkv_rows() + if layer < last { feed(config, layer) } else { 0 };
        // Position t sees t + 1 keys, or a window of them, and as many values.
        let window = config.layers[layer].window.unwrap_or(usize::MAX);
        let seen: usize = positions.clone().map(|position| (position + 1).min(window)).sum();
        2 * weights * positions.len() + 4 * queries * seen
    };
    (0..=last).map(block).sum::<usize>() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Shape;

    fn config() -> ModelConfig {
        let config = "A".parse::<Shape>().unwrap().config().unwrap();
        let layers = config.layers[..3].to_vec();
        let (hidden_size, intermediate_size, vocab_size) = (8, 10, 20);
        ModelConfig {
            hidden_size,
            num_attention_heads: 2,
            num_key_value_heads: 1,
            head_dim: 4,
            intermediate_size,
            layers,
            vocab_size,
            ..config
        }
    }

    #[test]
    fn operations_of_two_tokens_by_hand() {
        // Head width 4. Weights of a block: qkv 8 x (2 + 2) x 4 = 128, output 8 x 8 = 64, gate, up and down 3 x 8 x 10 = 240; 432 in all.
        // Two tokens through two blocks and the last one's qkv: 2 x 2 x (2 x 432 + 128) = 3968. Attention: the first sees 1, the second 2,
        // so 4 x 8 x 3 in each of three blocks = 288. One scored token: 2 x (64 + 240 + 8 x 20) = 928.
        let one = Conversations { positions: vec![2], scored: vec![1], group: 1, shared: 0 };
        assert_eq!(one.forward(&config()), 5184.0);
    }

    #[test]
    fn a_shared_beginning_counts_once() {
        let alone = Conversations { positions: vec![7], scored: vec![3], group: 1, shared: 4 };
        let pair = Conversations { positions: vec![7, 7], scored: vec![3, 3], group: 2, shared: 4 };
        let beginning = Conversations { positions: vec![4], scored: vec![1], group: 1, shared: 4 };
        let config = config();
        assert_eq!(pair.forward(&config), 2.0 * alone.forward(&config) - beginning.forward(&config));
        let apart = Conversations { group: 1, ..pair };
        assert_eq!(apart.forward(&config), 2.0 * alone.forward(&config));
    }
}
