//! The loss of a policy's step: a [`Surrogate`](super::Surrogate) that pushes by advantages, and a KL term that holds back.
//!
//! A token loses `w surrogate + kl_coef kl(new, reference) - entropy_coef H`, where `w` is 1 unless an older policy sampled the token
//! ([`staleness`](crate::staleness)), `H` is the entropy of what the policy would have said there, and the loss is the sum over tokens of
//! what each loses times its weight, the weights being those of the [`Normalizer`]. KL that is charged to the [reward](crate::KlIn::Reward)
//! is measured here, and costs nothing.
//!
//! With the default surrogate that is GRPO's objective, PPO's clip with group-relative advantages (DeepSeekMath, arXiv:2402.03300). The
//! clip is one-sided in effect: only a ratio that already went where its advantage pushes stops being pushed. Separate bounds are DAPO's
//! clip-higher (arXiv:2503.14476 §3.1).
//!
//! Where we differ from the papers: log-ratios are clamped to ±20 nats before `exp` (as in verl), and `kl_coef` is 0 unless asked for
//! (as in TRL; DeepSeekMath has 0.04).

#[cfg(test)]
mod tests;

use crate::ratio::k3;
use crate::{Evaluation, Grpo, KlIn, Normalizer, Sequence, Slopes};

impl Grpo {
    /// What a nat of KL(policy, reference) costs in the loss.
    #[must_use]
    pub fn kl_in_loss(&self) -> f64 {
        match self.kl_in {
            KlIn::Loss => self.kl_coef,
            KlIn::Reward => 0.0,
        }
    }

    /// The weights of a whole optimizer batch, given how many tokens were sampled in each of its sequences.
    pub fn normalizer(&self, sampled: impl IntoIterator<Item = usize>) -> Normalizer {
        Normalizer::count(self.aggregation, self.max_completion_tokens, sampled)
    }

    /// The loss of some `sequences` of the batch that `normalizer` counted, and its `slopes`.
    ///
    /// # Panics
    /// If the arrays of a sequence, or `slopes` and all sequences together, differ in length, if KL is in the loss and a sequence has no
    /// reference, or if `entropy_coef` is not 0 and a sequence has no entropies.
    pub fn evaluate(&self, sequences: &[Sequence<'_>], normalizer: &Normalizer, slopes: &mut Slopes) -> Evaluation {
        let mut total = Evaluation::default();
        let (mut d_new, mut d_entropy) = (&mut slopes.log_probs[..], &mut slopes.entropies[..]);
        for sequence in sequences {
            let (own, after) = d_new.split_at_mut(sequence.new.len());
            let (own_entropy, after_entropy) = d_entropy.split_at_mut(sequence.new.len());
            (d_new, d_entropy) = (after, after_entropy);
            let weight = normalizer.weight(sequence.sampled());
            total += self.evaluate_one(sequence, weight, own);
            total.loss -= self.reward_entropy(sequence, weight, own_entropy);
        }
        let left = (d_new.len(), d_entropy.len());
        assert!(left == (0, 0), "there are {left:?} more slopes than the sequences have tokens");
        total
    }

    fn evaluate_one(&self, sequence: &Sequence<'_>, weight: f64, d_new: &mut [f64]) -> Evaluation {
        let &Sequence { new, old, reference, mask, advantages, weights, .. } = sequence;
        let lengths = [old.len(), mask.len(), advantages.len(), weights.map_or(new.len(), <[f64]>::len)];
        assert!(lengths == [new.len(); 4], "a sequence's arrays have one entry per token");
        let compared = reference.is_none_or(|reference| reference.len() == new.len());
        assert!(compared, "the reference has one entry per token");
        let kl_coef = self.kl_in_loss();
        assert!(kl_coef == 0.0 || reference.is_some(), "a KL term needs a reference policy");
        d_new.fill(0.0);
        let pushes: Vec<f64> = match weights {
            None => vec![weight; new.len()],
            Some(weights) => weights.iter().map(|push| weight * push).collect(),
        };
        let mut sum = self.surrogate.evaluate(self, sequence, &pushes, d_new);
        for t in sequence.sampled_at() {
            sum.moved_sum += k3(old[t], new[t]).value;
            let Some(reference) = reference.map(|reference| reference[t]) else { continue };
            let kl = self.kl.estimate(new[t], reference);
            sum.kl_sum += k3(new[t], reference).value;
            sum.loss += weight * kl_coef * kl.value;
            d_new[t] += weight * kl_coef * kl.slope;
        }
        sum
    }

    /// What a sequence's entropy earns. Writes what it costs, by entropy, to `d_entropy`.
    fn reward_entropy(&self, sequence: &Sequence<'_>, weight: f64, d_entropy: &mut [f64]) -> f64 {
        d_entropy.fill(0.0);
        if self.entropy_coef == 0.0 {
            return 0.0;
        }
        let entropies = sequence.entropies.expect("an entropy bonus needs entropies");
        let bonus = weight * self.entropy_coef;
        sequence.sampled_at().for_each(|t| d_entropy[t] = -bonus);
        bonus * sequence.sampled_at().map(|t| entropies[t]).sum::<f64>()
    }
}
