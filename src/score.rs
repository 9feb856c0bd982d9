//! What a model makes of given tokens: the log-probability of each, and the largest logits after each.
//!
//! It is what other implementations print of the same ids, so that two of them can be laid beside one another. The numbers come from
//! [`Decode`], which samples; a few tokens are read at a time, since the logits of many would outweigh everything else.

use serde::Serialize;
use stateset_kernels::cpu::Row;
use stateset_models::{Decode, Pretrained, ServedWeights};
use thiserror::Error;

/// Tokens that are read, and whose logits exist, at once.
const AT_ONCE: usize = 64;

/// What was found, an entry for each token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Scores {
    /// As they were given.
    pub(crate) tokens: Vec<u32>,
    /// Log-probability of each token after those before it, nats; the first has none.
    pub(crate) log_probs: Vec<Option<f64>>,
    /// The largest logits after each token, largest first.
    pub(crate) top: Vec<Vec<Logit>>,
}

/// A candidate for what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Logit {
    /// The token.
    pub(crate) id: u32,
    /// Its logit.
    pub(crate) logit: f32,
}

/// Why tokens cannot be scored.
#[derive(Debug, Error)]
pub(crate) enum ScoreError {
    /// A token that the model does not have.
    #[error(
        "token {id} at position {position} is beyond the model's vocabulary: ids go from 0 to {}",
        vocabulary - 1
    )]
    Token {
        /// The token.
        id: u32,
        /// Where it stands, counted from 0.
        position: usize,
        /// How many tokens the model has.
        vocabulary: usize,
    },
    /// More tokens than the model has positions.
    #[error("there are {tokens} tokens, and the model has room for {room} (max_position_embeddings)")]
    TooLong {
        /// How many there are.
        tokens: usize,
        /// How many there may be.
        room: usize,
    },
    /// A logit is no number: the weights are broken.
    #[error("the logits after position {position} are not finite: the weights are broken")]
    NotFinite {
        /// Where, counted from 0.
        position: usize,
    },
}

/// Scores `tokens`, with the `top` largest logits after each (all of them, if there are not so many).
pub(crate) fn score(model: &Pretrained, tokens: &[u32], top: usize) -> Result<Scores, ScoreError> {
    let config = &model.weights.config;
    let (vocabulary, room) = (config.vocab_size, config.max_position_embeddings);
    if tokens.len() > room {
        return Err(ScoreError::TooLong { tokens: tokens.len(), room });
    }
    if let Some((position, id)) = tokens.iter().enumerate().find(|(_, id)| **id as usize >= vocabulary) {
        return Err(ScoreError::Token { id: *id, position, vocabulary });
    }
    let mut scores = Scores { tokens: tokens.to_vec(), log_probs: vec![None], top: Vec::new() };
    let weights = ServedWeights::of(&model.weights);
    let mut decode = Decode::new(config, 1, tokens.len());
    for (start, read) in (0..).step_by(AT_ONCE).zip(tokens.chunks(AT_ONCE)) {
        let rows: Vec<Row> = (start..start + read.len()).map(|position| Row { position, slot: 0 }).collect();
        let logits = decode.step(&weights, read, &rows, &(0..read.len()).collect::<Vec<_>>());
        for (position, logits) in (start..).zip(logits.chunks_exact(vocabulary)) {
            if logits.iter().any(|logit| !logit.is_finite()) {
                return Err(ScoreError::NotFinite { position });
            }
            scores.log_probs.extend(tokens.get(position + 1).map(|next| Some(log_prob(logits, *next))));
            scores.top.push(largest(logits, top));
        }
    }
    scores.log_probs.truncate(tokens.len());
    Ok(scores)
}

fn log_prob(logits: &[f32], token: u32) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
    f64::from(logits[token as usize] - most) - sum.ln()
}

/// The `count` largest, the lowest id first among equals.
fn largest(logits: &[f32], count: usize) -> Vec<Logit> {
    let mut all: Vec<Logit> = (0..).zip(logits).map(|(id, logit)| Logit { id, logit: *logit }).collect();
    all.sort_by(|a, b| b.logit.total_cmp(&a.logit));
    all.truncate(count);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_probability_is_a_log_softmax_whatever_is_added_to_all_logits() {
        // exp(ln 3) / (exp(0) + exp(ln 3)) = 3 / 4
        let found = log_prob(&[0.0, 3f32.ln()], 1);
        assert!((found - 0.75f64.ln()).abs() < 1e-7, "{found}");
        let shifted = log_prob(&[500.0, 500.0 + 3f32.ln()], 1);
        assert!((shifted - found).abs() < 1e-4, "{shifted}");
    }

    #[test]
    fn the_largest_come_first_and_the_lowest_id_among_equals() {
        let ids = |count| largest(&[1.0, 3.0, 3.0, 2.0], count).iter().map(|it| it.id).collect::<Vec<_>>();
        assert_eq!((ids(3), ids(9)), (vec![1, 2, 3], vec![1, 2, 3, 0]));
    }

    #[test]
    fn no_tokens_have_no_scores() {
        let model = crate::model::load(crate::model::BUILTIN).unwrap();
        let found = score(&model, &[], 5).unwrap();
        assert_eq!(found, Scores { tokens: vec![], log_probs: vec![], top: vec![] });
    }
}
