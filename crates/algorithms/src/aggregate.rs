//! From per-token losses to one number: what each token weighs.
//!
//! | Variant                  | Weight of a token of sequence `i`  | Source                          |
//! |--------------------------|------------------------------------|---------------------------------|
//! | [`Aggregation::Grpo`]    | `1 / (B n_i)`                      | DeepSeekMath, arXiv:2402.03300  |
//! | [`Aggregation::Dapo`]    | `1 / N`                            | DAPO, arXiv:2503.14476 §3.3     |
//! | [`Aggregation::DrGrpo`]  | `1 / (B L)`                        | Dr. GRPO, arXiv:2503.20783      |
//! | [`Aggregation::SequenceSum`] | `1 / B`                        | verl's `seq-mean-token-sum`; with GSPO, LUSPO |
//!
//! with `B` sequences, `n_i` sampled tokens in one of them, `N` in all, and `L` the longest completion allowed. All three counts are
//! taken over the whole optimizer batch, once, *before* it is split into micro-batches: a token's weight, and so its gradient, then
//! cannot depend on how the batch was split. (BNPO's mean over the tokens of a micro-batch does; over the whole batch it is DAPO's.) A sequence in which nothing was sampled counts in `B` and adds 0.

use serde::{Deserialize, Serialize};

/// How per-token losses become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// The mean over sequences of each one's token mean. A token of a long answer weighs less than one of a short answer.
    Grpo,
    /// The mean over all tokens of the batch. Every token weighs the same.
    #[default]
    Dapo,
    /// The sum over tokens, divided by a constant. Every token weighs the same, and in every batch.
    DrGrpo,
    /// The mean over sequences of each one's sum. Every token weighs the same, whatever else was sampled.
    SequenceSum,
}

/// The counts of one optimizer batch, from which every token's weight follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Normalizer {
    aggregation: Aggregation,
    sequences: usize,
    tokens: usize,
    max_completion_tokens: usize,
}

impl Normalizer {
    /// Counts a batch, given how many tokens were sampled in each of its sequences. Only [`Aggregation::DrGrpo`] looks at
    /// `max_completion_tokens`.
    pub fn count(
        aggregation: Aggregation,
        max_completion_tokens: usize,
        sampled: impl IntoIterator<Item = usize>,
    ) -> Self {
        let (sequences, tokens) = sampled.into_iter().fold((0, 0), |(b, n), sampled| (b + 1, n + sampled));
        Self { aggregation, sequences, tokens, max_completion_tokens }
    }

    /// What each sampled token of a sequence weighs, of which `sampled` were. Finite for every batch, empty ones included.
    #[must_use]
    pub fn weight(&self, sampled: usize) -> f64 {
        let denominator = match self.aggregation {
            Aggregation::Grpo => self.sequences * sampled,
            Aggregation::Dapo => self.tokens,
            Aggregation::DrGrpo => self.sequences * self.max_completion_tokens,
            Aggregation::SequenceSum => self.sequences,
        };
        1.0 / denominator.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three sequences with 3, 1 and 0 sampled tokens; completions up to 4 tokens.
    fn weights(aggregation: Aggregation) -> [f64; 3] {
        let batch = Normalizer::count(aggregation, 4, [3, 1, 0]);
        [3, 1, 0].map(|sampled| batch.weight(sampled))
    }

    #[test]
    fn grpo_gives_each_sequence_the_same_total() {
        assert_eq!(weights(Aggregation::Grpo)[..2], [1.0 / 9.0, 1.0 / 3.0]);
    }

    #[test]
    fn dapo_gives_each_token_the_same_weight() {
        assert_eq!(weights(Aggregation::Dapo)[..2], [0.25, 0.25]);
    }

    #[test]
    fn dr_grpo_divides_by_a_constant_whatever_was_sampled() {
        assert_eq!(weights(Aggregation::DrGrpo)[..2], [1.0 / 12.0, 1.0 / 12.0]);
    }

    #[test]
    fn sequence_sums_are_averaged_over_sequences() {
        assert_eq!(weights(Aggregation::SequenceSum)[..2], [1.0 / 3.0, 1.0 / 3.0]);
    }

    #[test]
    fn weights_are_finite_when_nothing_was_sampled() {
        for aggregation in [Aggregation::Grpo, Aggregation::Dapo, Aggregation::DrGrpo, Aggregation::SequenceSum] {
            assert!(weights(aggregation)[2].is_finite());
            assert!(Normalizer::count(aggregation, 4, []).weight(0).is_finite());
        }
    }
}
