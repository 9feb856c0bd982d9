//! Credit for every token: what came after it, beyond what a critic had expected.
//!
//! Generalised advantage estimation (arXiv:1506.02438) over the tokens of one episode, from the last to the first:
//!
//! ```text
//! delta_t = reward_t + gamma V_next - V_t
//! A_t     = delta_t + gamma lambda A_next
//! ```
//!
//! Next is the next *sampled* token: what a tool or a user says in between has no value of its own and costs no discount, so credit is
//! handed on across it (verl does the same; where such tokens are treated like the policy's own, credit for a turn fades with the length of
//! the answer to it). After the last sampled token there is nothing to come.

/// A discount, and how far to look ahead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gae {
    /// What a reward one token later is worth. In `[0, 1]`.
    pub gamma: f64,
    /// 0 looks one token ahead and trusts the critic, 1 looks to the end and trusts nobody. In `[0, 1]`.
    pub lambda: f64,
    /// How many tokens to look ahead at the most, after which the critic is believed; `None` looks to the end. With a `lambda` of 1 that is
    /// the n-step advantage of A3C (arXiv:1602.01783).
    pub steps: Option<usize>,
}

impl Gae {
    /// The advantage of every token of an episode; 0 where `mask` is false. Adding the values gives what the critic is to learn.
    ///
    /// # Panics
    /// If the arrays differ in length.
    #[must_use]
    pub fn advantages(&self, rewards: &[f64], values: &[f64], mask: &[bool]) -> Vec<f64> {
        assert!(
            rewards.len() == values.len() && rewards.len() == mask.len(),
            "an episode's arrays have one entry per token"
        );
        let sampled: Vec<usize> = (0..rewards.len()).filter(|t| mask[*t]).collect();
        let mut advantages = vec![0.0; rewards.len()];
        let mut deltas = vec![0.0; sampled.len()];
        let (mut next, mut last) = (0.0, 0.0);
        for (i, t) in sampled.iter().enumerate().rev() {
            deltas[i] = rewards[*t] + self.gamma * next - values[*t];
            last = deltas[i] + self.gamma * self.lambda * last;
            // Of a window that has slid past it, the last surprise is taken out again.
            let gone = self.steps.and_then(|steps| Some((steps, deltas.get(i + steps)?)));
            if let Some((steps, gone)) = gone {
                last -= (self.gamma * self.lambda).powi(steps as i32) * gone;
            }
            next = values[*t];
            advantages[*t] = last;
        }
        advantages
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REWARDS: [f64; 4] = [-0.01, -0.02, 0.0, 1.0];
    const VALUES: [f64; 4] = [0.5, 0.4, 0.6, 0.7];
    const USUAL: Gae = Gae { gamma: 0.99, lambda: 0.95, steps: None };

    fn assert_near(found: &[f64], expected: &[f64]) {
        let apart = found.iter().zip(expected).any(|(found, expected)| (found - expected).abs() > 5e-7);
        assert!(!apart && found.len() == expected.len(), "{found:?} is not {expected:?}");
    }

    #[test]
    fn four_tokens_of_one_speaker() {
        let found = USUAL.advantages(&REWARDS, &VALUES, &[true; 4]);
        assert_near(&found, &[0.381482, 0.526829, 0.375150, 0.300000]);
    }

    #[test]
    fn a_token_of_somebody_else_is_passed_over() {
        let found = USUAL.advantages(&REWARDS, &VALUES, &[true, true, false, true]);
        assert_near(&found, &[0.408119, 0.555150, 0.0, 0.300000]);
    }

    #[test]
    fn one_step_is_the_critics_surprise_and_two_steps_look_one_token_further() {
        let look = |steps| Gae { lambda: 1.0, steps: Some(steps), ..USUAL }.advantages(&REWARDS, &VALUES, &[true; 4]);
        // -.01 + .99 x .4 - .5; -.02 + .99 x .6 - .4; .99 x .7 - .6; 1 - .7
        assert_near(&look(1), &[-0.114, 0.174, 0.093, 0.3]);
        // -.01 + .99 x -.02 + .99^2 x .6 - .5; and so on
        assert_near(&look(2), &[0.058260, 0.266070, 0.390000, 0.3]);
        assert_near(&look(9), &Gae { lambda: 1.0, ..USUAL }.advantages(&REWARDS, &VALUES, &[true; 4]));
    }

    #[test]
    fn an_episode_in_which_nothing_was_sampled_has_no_credit() {
        assert_eq!(USUAL.advantages(&REWARDS, &VALUES, &[false; 4]), [0.0; 4]);
        assert!(USUAL.advantages(&[], &[], &[]).is_empty());
    }

    proptest! {
        #[test]
        fn what_others_say_makes_no_difference_however_long_it_is(
            spoken in prop::collection::vec((-1.0..1.0f64, -1.0..1.0f64, 0..4usize), 0..8), gamma in 0.5..1.0f64,
            lambda in 0.0..1.0f64,
        ) {
            let gae = Gae { gamma, lambda, steps: None };
            let (rewards, values): (Vec<f64>, Vec<f64>) = spoken.iter().map(|(reward, value, _)| (*reward, *value)).unzip();
            let plain = gae.advantages(&rewards, &values, &vec![true; rewards.len()]);
            let (mut long_rewards, mut long_values, mut mask) = (vec![], vec![], vec![]);
            for (reward, value, others) in &spoken {
                long_rewards.extend([*reward].into_iter().chain(vec![f64::NAN; *others]));
                long_values.extend([*value].into_iter().chain(vec![f64::NAN; *others]));
                mask.extend([true].into_iter().chain(vec![false; *others]));
            }
            let found = gae.advantages(&long_rewards, &long_values, &mask);
            let own: Vec<f64> = found.into_iter().zip(&mask).filter(|(_, own)| **own).map(|(it, _)| it).collect();
            prop_assert_eq!(own, plain);
        }

        #[test]
        fn looking_to_the_end_the_critic_cancels_out(
            tokens in prop::collection::vec((-1.0..1.0f64, -1.0..1.0f64), 1..9), gamma in 0.5..1.0f64,
        ) {
            let (rewards, values): (Vec<f64>, Vec<f64>) = tokens.into_iter().unzip();
            let found = Gae { gamma, lambda: 1.0, steps: None }.advantages(&rewards, &values, &vec![true; rewards.len()]);
            let mut to_go = 0.0;
            for t in (0..rewards.len()).rev() {
                to_go = rewards[t] + gamma * to_go;
                prop_assert!((found[t] + values[t] - to_go).abs() < 1e-9);
            }
        }
    }
}
