//! GRPO's objective: PPO's clipped surrogate at every sampled token, with group-relative advantages (DeepSeekMath, arXiv:2402.03300).
//!
//! With the ratio `r = exp(new - old)` and the answer's advantage `A`, a token loses
//!
//! ```text
//! l = -w min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) + kl_coef k3(new, reference)
//! ```
//!
//! where `w` is 1 unless an older policy sampled the token ([`staleness`](crate::staleness)),
//! and the loss is the sum of `weight l`, the weights being those of the [`Normalizer`]. The clip is one-sided in effect: only a ratio
//! that already went where its advantage pushes stops being pushed, so the slope `-A r` vanishes for `A > 0, r > 1 + clip_high` and for
//! `A < 0, r < 1 - clip_low` and, short of the clamp below, nowhere else. Separate bounds are DAPO's clip-higher (arXiv:2503.14476 §3.1).
//!
//! Where we differ from the paper: log-ratios are clamped to ±20 nats before `exp` (as in verl), and `kl_coef` is 0 unless asked for
//! (as in TRL; the paper has 0.04).

#[cfg(test)]
mod tests;

use crate::advantage::group_relative;
use crate::ratio::{Sloped, importance, k3};
use crate::{Evaluation, Grpo, Normalizer, Sequence};

impl Grpo {
    /// The advantage of each member of one group, in order.
    #[must_use]
    pub fn advantages(&self, rewards: &[f64]) -> Vec<f64> {
        group_relative(rewards, self.scale)
    }

    /// The weights of a whole optimizer batch, given how many tokens were sampled in each of its sequences.
    pub fn normalizer(&self, sampled: impl IntoIterator<Item = usize>) -> Normalizer {
        Normalizer::count(self.aggregation, self.max_completion_tokens, sampled)
    }

    /// The loss of some `sequences` of the batch that `normalizer` counted. Writes dLoss/dNew, one entry per token, sequence after
    /// sequence, to `d_new`; tokens that were not sampled get 0.
    ///
    /// # Panics
    /// If the arrays of a sequence, or `d_new` and all sequences together, differ in length, or if `kl_coef` is not 0 and a sequence
    /// has no reference.
    pub fn evaluate(&self, sequences: &[Sequence<'_>], normalizer: &Normalizer, d_new: &mut [f64]) -> Evaluation {
        let mut total = Evaluation::default();
        let mut rest = d_new;
        for sequence in sequences {
            let (slopes, after) = rest.split_at_mut(sequence.new.len());
            rest = after;
            total += self.evaluate_one(sequence, normalizer.weight(sequence.sampled()), slopes);
        }
        assert!(rest.is_empty(), "d_new has {} more entries than the sequences have tokens", rest.len());
        total
    }

    fn evaluate_one(&self, sequence: &Sequence<'_>, weight: f64, d_new: &mut [f64]) -> Evaluation {
        let &Sequence { new, old, reference, mask, advantage, weights } = sequence;
        assert!(new.len() == old.len() && new.len() == mask.len(), "a sequence's arrays have one entry per token");
        assert!(
            reference.is_none_or(|reference| reference.len() == new.len()),
            "the reference has one entry per token"
        );
        assert!(weights.is_none_or(|weights| weights.len() == new.len()), "every token has its weight");
        assert!(self.kl_coef == 0.0 || reference.is_some(), "a KL term needs a reference policy");
        let mut sum = Evaluation::default();
        for t in 0..new.len() {
            d_new[t] = 0.0;
            if !mask[t] {
                continue;
            }
            let kl = reference.map_or(Sloped { value: 0.0, slope: 0.0 }, |reference| k3(new[t], reference[t]));
            let push = weights.map_or(1.0, |weights| weights[t]);
            let policy = self.surrogate(importance(new[t], old[t]), advantage, &mut sum);
            sum.tokens += 1;
            sum.kl_sum += kl.value;
            sum.loss += weight * (push * policy.value + self.kl_coef * kl.value);
            d_new[t] = weight * (push * policy.slope + self.kl_coef * kl.slope);
        }
        sum
    }

    fn surrogate(&self, ratio: Sloped, advantage: f64, sum: &mut Evaluation) -> Sloped {
        let low = advantage < 0.0 && ratio.value < 1.0 - self.clip_low;
        let high = advantage > 0.0 && ratio.value > 1.0 + self.clip_high;
        sum.clipped_low += usize::from(low);
        sum.clipped_high += usize::from(high);
        sum.ratio_sum += ratio.value;
        match (low, high) {
            (true, _) => Sloped { value: -advantage * (1.0 - self.clip_low), slope: 0.0 },
            (_, true) => Sloped { value: -advantage * (1.0 + self.clip_high), slope: 0.0 },
            (false, false) => Sloped { value: -advantage * ratio.value, slope: -advantage * ratio.slope },
        }
    }
}
