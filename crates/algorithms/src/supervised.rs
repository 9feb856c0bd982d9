//! Supervised fine-tuning: what was said becomes likelier.
//!
//! The loss is the cross-entropy of what the assistant said, the mean over all its tokens of the batch:
//!
//! ```text
//! loss = -(1 / N) sum over tokens of log p(token)
//! ```
//!
//! The end of a turn is a token that the assistant says. What users and tools say is read, and not imitated.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Algorithm, Evaluation, Section, Sequence};

/// Supervised fine-tuning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sft {
    /// Conversations as JSON lines. Default: none, for demonstrations of the domain without end.
    pub file: Option<PathBuf>,
    /// Conversations a step. At least 1; default 32.
    pub batch: usize,
}

impl Default for Sft {
    fn default() -> Self {
        Self { file: None, batch: 32 }
    }
}

impl Section for Sft {
    const NAME: &'static str = "sft";

    fn problems(&self) -> Vec<String> {
        if self.batch == 0 { vec!["batch must be at least 1, but is 0".to_owned()] } else { Vec::new() }
    }

    fn idle(&self, _algorithm: Algorithm) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
}

/// The cross-entropy of some `sequences` of a batch in which the assistant says `tokens` tokens; of a sequence, those are the sampled ones.
/// Writes dLoss/dNew to `d_new`, one entry per token; the others get 0.
///
/// # Panics
/// If `d_new` has not as many entries as the sequences have tokens.
pub fn imitate(sequences: &[Sequence<'_>], tokens: usize, d_new: &mut [f64]) -> Evaluation {
    let weight = 1.0 / tokens.max(1) as f64;
    let mut sum = Evaluation::default();
    let mut rest = d_new;
    for sequence in sequences {
        let (slopes, after) = rest.split_at_mut(sequence.new.len());
        rest = after;
        slopes.fill(0.0);
        for t in sequence.sampled_at() {
            sum.tokens += 1;
            sum.ratio_sum += 1.0;
            sum.loss -= weight * sequence.new[t];
            slopes[t] = -weight;
        }
    }
    assert!(rest.is_empty(), "d_new has {} more entries than the sequences have tokens", rest.len());
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<'a>(new: &'a [f64], mask: &'a [bool]) -> Sequence<'a> {
        Sequence { new, old: new, reference: None, mask, advantages: new, weights: None, entropies: None }
    }

    #[test]
    fn the_loss_is_the_mean_over_what_the_assistant_said_however_it_is_split() {
        let sequences = [said(&[-1.0, -2.0], &[true, true]), said(&[-0.5, f64::NAN, -0.5], &[true, false, true])];
        let mut slopes = [f64::NAN; 5];
        // (1 + 2 + 0.5 + 0.5) / 4
        let whole = imitate(&sequences, 4, &mut slopes);
        assert_eq!((whole.loss, whole.tokens), (1.0, 4));
        assert_eq!(slopes, [-0.25, -0.25, -0.25, 0.0, -0.25]);
        let mut parts = [f64::NAN; 5];
        let (first, second) = parts.split_at_mut(2);
        let mut sum = imitate(&sequences[..1], 4, first);
        sum += imitate(&sequences[1..], 4, second);
        assert_eq!((sum, parts), (whole, slopes));
    }

    #[test]
    fn where_nothing_is_said_nothing_is_lost() {
        let mut slopes = [1.0; 2];
        assert_eq!(imitate(&[said(&[-1.0, -2.0], &[false; 2])], 0, &mut slopes).loss, 0.0);
        assert_eq!(slopes, [0.0; 2]);
    }

    #[test]
    fn a_step_takes_at_least_one_conversation() {
        assert_eq!(Sft { batch: 0, ..Sft::default() }.problems().len(), 1);
        assert!(Sft::default().problems().is_empty());
    }
}
