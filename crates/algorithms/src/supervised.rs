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

use crate::{Aggregation, Algorithm, Grpo, Section, Surrogate};

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

impl Sft {
    /// The loss: what the assistant said counts as if it had been sampled and found good, whatever the policy would have said.
    #[must_use]
    pub fn policy() -> Grpo {
        Grpo { surrogate: Surrogate::Reinforce, aggregation: Aggregation::Dapo, ..Grpo::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sequence, Slopes};

    #[test]
    fn the_loss_is_the_mean_over_what_the_assistant_said() {
        let said = |new: &'static [f64], mask: &'static [bool]| Sequence {
            new,
            old: new,
            reference: None,
            mask,
            advantages: &[1.0; 3][..new.len()],
            weights: None,
            entropies: None,
        };
        let sequences = [said(&[-1.0, -2.0], &[true; 2]), said(&[-0.5, f64::NAN, -0.5], &[true, false, true])];
        let mut slopes = Slopes::zeros(5);
        // (1 + 2 + 0.5 + 0.5) / 4
        let found = Sft::policy().evaluate(&sequences, &Sft::policy().normalizer([2, 2]), &mut slopes);
        assert_eq!((found.loss, found.tokens), (1.0, 4));
        assert_eq!(slopes.log_probs, [-0.25, -0.25, -0.25, 0.0, -0.25]);
    }

    #[test]
    fn a_step_takes_at_least_one_conversation() {
        assert_eq!(Sft { batch: 0, ..Sft::default() }.problems().len(), 1);
        assert!(Sft::default().problems().is_empty());
    }
}
