//! Bad answers that the policy would no longer give.
//!
//! A push away from an answer that has become unlikely already does little for what the policy says, and much harm to what it knows: the
//! further down, the less is said of where the probability goes. So an episode's bad tokens are let go of once the policy has left the
//! sampler too far behind, `mean(sampler - new)` over the episode's tokens being above a threshold (DeepSeek-V3.2, arXiv:2512.02556;
//! TRL's `off_policy_mask_threshold`). Good ones are not: what pulls towards them brings the two together.
//!
//! It is asked anew in every pass over a batch, and nothing is differentiated through it. KL and entropy count all the same, and so do the
//! denominators.

use crate::Grpo;
use crate::ratio::LIMIT;

impl Grpo {
    /// What each token of an episode weighs once what has been left behind is let go of; `None` if nothing has, so that `weights` stay.
    ///
    /// # Panics
    /// If the arrays differ in length.
    #[must_use]
    pub fn let_go(
        &self,
        new: &[f64],
        sampler: &[f64],
        advantages: &[f64],
        weights: Option<&[f64]>,
    ) -> Option<Vec<f64>> {
        let lengths = [sampler.len(), advantages.len(), weights.map_or(new.len(), <[f64]>::len)];
        assert!(lengths == [new.len(); 3], "an episode's arrays have one entry per token");
        let apart = new.iter().zip(sampler).map(|(new, sampler)| (sampler - new).clamp(-LIMIT, LIMIT)).sum::<f64>();
        let far = self.off_policy_threshold.is_some_and(|threshold| apart > threshold * new.len() as f64);
        let weight = |(t, advantage): (usize, &f64)| match weights {
            _ if *advantage < 0.0 => 0.0,
            Some(weights) => weights[t],
            None => 1.0,
        };
        (far && advantages.iter().any(|it| *it < 0.0)).then(|| advantages.iter().enumerate().map(weight).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAMPLER: [f64; 3] = [-1.0, -1.0, -1.0];

    fn let_go(threshold: Option<f64>, new: [f64; 3], advantages: [f64; 3]) -> Option<Vec<f64>> {
        let grpo = Grpo { off_policy_threshold: threshold, ..Grpo::default() };
        grpo.let_go(&new, &SAMPLER, &advantages, Some(&[0.5, 1.0, 2.0]))
    }

    #[test]
    fn a_bad_answer_that_was_left_behind_is_let_go_of() {
        // (0.2 + 0.5 - 0.1) / 3 = 0.2
        let new = [-1.2, -1.5, -0.9];
        assert_eq!(let_go(Some(0.19), new, [-1.0; 3]), Some(vec![0.0; 3]));
        assert_eq!(let_go(Some(0.21), new, [-1.0; 3]), None);
        assert_eq!(let_go(None, new, [-1.0; 3]), None);
    }

    #[test]
    fn good_answers_are_kept_however_far_they_are_and_so_are_a_bad_ones_good_turns() {
        let new = [-9.0; 3];
        assert_eq!(let_go(Some(0.1), new, [1.0, 0.0, 1.0]), None);
        assert_eq!(let_go(Some(0.1), new, [1.0, -1.0, 0.0]), Some(vec![0.5, 0.0, 2.0]));
    }

    #[test]
    fn a_token_that_either_rules_out_counts_for_twenty_nats() {
        assert_eq!(let_go(Some(6.0), [f64::NEG_INFINITY, -1.0, -1.0], [-1.0; 3]), Some(vec![0.0; 3]));
        assert_eq!(let_go(Some(7.0), [f64::NEG_INFINITY, -1.0, -1.0], [-1.0; 3]), None);
    }

    proptest! {
        #[test]
        fn the_further_the_threshold_the_more_is_kept(
            new in prop::array::uniform3(-3.0..0.0f64), advantages in prop::array::uniform3(-1.0..1.0f64), low in 0.0..1.0f64,
            more in 0.0..1.0f64,
        ) {
            let gone = |threshold| let_go(Some(threshold), new, advantages).is_some();
            prop_assert!(gone(low) || !gone(low + more));
        }
    }
}
