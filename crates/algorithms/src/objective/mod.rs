//! Objectives: from log-probabilities and advantages to a loss, and its slope for every token.
//!
//! Each is one file, and each is asked twice about an optimizer batch: once for a [`Normalizer`](crate::Normalizer) over all of it,
//! then for one [`Evaluation`] per micro-batch. Losses and counts of micro-batches add up to those of the batch.

mod grpo;
mod sequence;
mod surrogate;
mod token;
mod value;

use std::ops::AddAssign;

pub use surrogate::Surrogate;
use token::Term;
pub use value::{ValueEvaluation, Valued};

/// One episode as aligned arrays of one entry per token, log-probabilities in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sequence<'a> {
    /// Under the policy being trained.
    pub new: &'a [f64],
    /// Under the policy that the update starts from.
    pub old: &'a [f64],
    /// Under the policy not to stray from, if there is one.
    pub reference: Option<&'a [f64]>,
    /// True on sampled tokens. The others' log-probabilities are never looked at.
    pub mask: &'a [bool],
    /// Each token's credit.
    pub advantages: &'a [f64],
    /// What each token's push counts, where some were sampled by an older policy; `None` if all count in full.
    pub weights: Option<&'a [f64]>,
    /// Entropy of the policy at each token, nats; only an entropy bonus asks for it.
    pub entropies: Option<&'a [f64]>,
}

/// Derivatives of a loss, one entry per token, sequence after sequence; 0 where nothing was sampled.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Slopes {
    /// With respect to each token's log-probability under the policy being trained.
    pub log_probs: Vec<f64>,
    /// With respect to the policy's entropy there.
    pub entropies: Vec<f64>,
}

impl Slopes {
    /// All 0, for so many tokens.
    #[must_use]
    pub fn zeros(tokens: usize) -> Self {
        Self { log_probs: vec![0.0; tokens], entropies: vec![0.0; tokens] }
    }
}

impl Sequence<'_> {
    /// How many tokens were sampled.
    #[must_use]
    pub fn sampled(&self) -> usize {
        self.sampled_at().count()
    }

    /// Where the sampled tokens are.
    pub(crate) fn sampled_at(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.mask.len()).filter(|t| self.mask[*t])
    }
}

/// What an objective found in one micro-batch. Adds up over micro-batches.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Evaluation {
    /// The micro-batch's share of the batch's loss, to be minimised.
    pub loss: f64,
    /// Sampled tokens.
    pub tokens: usize,
    /// Tokens of bad answers whose ratio had already fallen below the clip range: no gradient.
    pub clipped_low: usize,
    /// Tokens of good answers whose ratio had already risen above the clip range: no gradient.
    pub clipped_high: usize,
    /// Sum over tokens of the probability ratio new / old.
    pub ratio_sum: f64,
    /// Sum over tokens of the k3 estimate of KL(policy, reference), nats; 0 without a reference.
    pub kl_sum: f64,
    /// Sum over tokens of the k3 estimate of KL(old, new), nats: how far the policy has moved since the update began.
    pub moved_sum: f64,
}

impl Evaluation {
    /// Share of tokens whose ratio was clipped against their advantage; 0 if there are none.
    #[must_use]
    pub fn clip_fraction(&self) -> f64 {
        self.mean((self.clipped_low + self.clipped_high) as f64)
    }

    /// Mean probability ratio new / old; 0 if there are no tokens.
    #[must_use]
    pub fn mean_ratio(&self) -> f64 {
        self.mean(self.ratio_sum)
    }

    /// Mean k3 estimate of KL(policy, reference), nats; 0 without tokens or without a reference.
    #[must_use]
    pub fn mean_kl(&self) -> f64 {
        self.mean(self.kl_sum)
    }

    /// Mean k3 estimate of KL(old, new), nats; 0 if there are no tokens.
    #[must_use]
    pub fn mean_moved(&self) -> f64 {
        self.mean(self.moved_sum)
    }

    fn count(&mut self, ratio: f64, term: &Term) {
        self.tokens += 1;
        self.ratio_sum += ratio;
        self.clipped_low += usize::from(term.low);
        self.clipped_high += usize::from(term.high);
    }

    fn mean(&self, sum: f64) -> f64 {
        sum / self.tokens.max(1) as f64
    }
}

impl AddAssign for Evaluation {
    fn add_assign(&mut self, other: Self) {
        let Self { loss, tokens, clipped_low, clipped_high, ratio_sum, kl_sum, moved_sum } = other;
        self.loss += loss;
        self.tokens += tokens;
        self.clipped_low += clipped_low;
        self.clipped_high += clipped_high;
        self.ratio_sum += ratio_sum;
        self.kl_sum += kl_sum;
        self.moved_sum += moved_sum;
    }
}
