//! What a token counts that an older policy sampled.
//!
//! A gradient is unbiased for the policy that sampled its tokens. Where that is not the one that learns, a token's push is weighed by the
//! importance ratio `w = exp(old - sampler)`: how much likelier the learning policy, as it stands before the step, would have made it. The
//! ratio is cut off, since one token of a vanishing sampler probability would otherwise outweigh a batch (truncated importance
//! sampling, Ionides 2008). It is a constant of the step: nothing is differentiated through it, and it does not touch the KL term.
//!
//! | [`Mode`]           | Weight                                                                   | Elsewhere                        |
//! |--------------------|--------------------------------------------------------------------------|----------------------------------|
//! | `token_truncate`   | each stale token's own `w`, cut to `[clip_min, clip_max]`                  | TRL; `rollout_is: token` in verl |
//! | `token_mask`       | the same, but 0 outside that range                                       | TRL; IcePop                      |
//! | `sequence_truncate`| the episode's `exp(sum (old - sampler))`, for each of its stale tokens, cut | TRL; `rollout_is: sequence` in verl |
//! | `sequence_mask`    | the same, but 0 outside that range                                       | TRL's default                    |
//!
//! Where we differ: a token that the learning policy sampled itself weighs exactly 1, for what its ratio differs from 1 by is rounding.
//! The denominators of the loss count every token, also those that weigh 0, so a stale batch takes a shorter step and not a wilder one.

use serde::{Deserialize, Serialize};

use crate::ratio::importance;

/// What is done about tokens that an older policy sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// They push nothing.
    Drop,
    /// They weigh what [`ImportanceSampling`] says.
    #[default]
    Truncate,
    /// They count in full.
    Keep,
}

/// Whose ratio is taken, and what becomes of one out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A token's, cut to the range.
    #[default]
    TokenTruncate,
    /// A token's, 0 out of range.
    TokenMask,
    /// An episode's, cut to the range.
    SequenceTruncate,
    /// An episode's, 0 out of range.
    SequenceMask,
}

/// How the importance ratio of a stale token becomes its weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImportanceSampling {
    /// Whose ratio, and what becomes of one out of range. Default `token_truncate`, which loses no token.
    pub mode: Mode,
    /// The largest weight. At least 1; default 2, as in verl and slime.
    pub clip_max: f64,
    /// The smallest weight. At least 0, at most 1; default 0, which leaves small ratios as they are.
    pub clip_min: f64,
}

impl Default for ImportanceSampling {
    fn default() -> Self {
        Self { mode: Mode::TokenTruncate, clip_max: 2.0, clip_min: 0.0 }
    }
}

impl ImportanceSampling {
    /// Everything that is wrong with these settings, one sentence each; empty if nothing is.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let Self { mode: _, clip_max, clip_min } = self;
        let mut problems = Vec::new();
        if !(*clip_max >= 1.0 && clip_max.is_finite()) {
            problems.push(format!("clip_max must be at least 1, but is {clip_max}"));
        }
        if !(0.0..=1.0).contains(clip_min) {
            problems.push(format!("clip_min must lie between 0 and 1, but is {clip_min}"));
        }
        problems
    }

    fn weight(&self, ratio: f64) -> f64 {
        let cut = ratio.clamp(self.clip_min, self.clip_max);
        match self.mode {
            Mode::TokenTruncate | Mode::SequenceTruncate => cut,
            Mode::TokenMask | Mode::SequenceMask if cut == ratio => ratio,
            Mode::TokenMask | Mode::SequenceMask => 0.0,
        }
    }
}

/// A rule, and the weights it uses.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Staleness {
    /// What is done.
    pub rule: Rule,
    /// By what weights, if any.
    pub importance: ImportanceSampling,
}

impl Staleness {
    /// What each token of an episode weighs; `None` if all count in full. `old` are the learning policy's log-probabilities before the
    /// step, `sampler` those the tokens were sampled with, `ages` how many versions older the sampler was.
    ///
    /// # Panics
    /// If the arrays differ in length.
    #[must_use]
    pub fn weights(&self, old: &[f64], sampler: &[f64], ages: &[u64]) -> Option<Vec<f64>> {
        assert!(old.len() == sampler.len() && old.len() == ages.len(), "an episode's arrays have one entry per token");
        if self.rule == Rule::Keep || ages.iter().all(|age| *age == 0) {
            return None;
        }
        let episode: f64 = old.iter().zip(sampler).map(|(old, sampler)| old - sampler).sum();
        let stale = |t: usize| match (self.rule, self.importance.mode) {
            (Rule::Drop, _) => 0.0,
            (_, Mode::TokenTruncate | Mode::TokenMask) => self.importance.weight(importance(old[t], sampler[t]).value),
            (_, Mode::SequenceTruncate | Mode::SequenceMask) => self.importance.weight(importance(episode, 0.0).value),
        };
        Some(ages.iter().enumerate().map(|(t, age)| if *age == 0 { 1.0 } else { stale(t) }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: [&[f64]; 2] = [&[-1.2, -0.4, -1.5], &[-0.9, -1.0]];
    const SAMPLER: [&[f64]; 2] = [&[-1.3, -0.4, -1.4], &[-0.9, -1.5]];

    fn weights(mode: Mode, row: usize, ages: &[u64]) -> Vec<f64> {
        let importance = ImportanceSampling { mode, clip_max: 1.2, clip_min: 0.0 };
        let staleness = Staleness { rule: Rule::Truncate, importance };
        staleness.weights(OLD[row], SAMPLER[row], ages).unwrap()
    }

    fn assert_near(found: &[f64], expected: &[f64]) {
        let near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6);
        assert!(near && found.len() == expected.len(), "{found:?} is not {expected:?}");
    }

    #[test]
    fn a_stale_token_weighs_its_ratio_cut_off_above() {
        // exp(0.1), exp(0), exp(-0.1); exp(0), exp(0.5) = 1.648721 cut to 1.2
        assert_near(&weights(Mode::TokenTruncate, 0, &[1; 3]), &[1.105171, 1.0, 0.904837]);
        assert_near(&weights(Mode::TokenTruncate, 1, &[1; 2]), &[1.0, 1.2]);
        assert_near(&weights(Mode::TokenMask, 1, &[1; 2]), &[1.0, 0.0]);
    }

    #[test]
    fn an_episode_weighs_the_product_of_its_ratios() {
        // exp(0.1 + 0 - 0.1) = 1; exp(0 + 0.5) = 1.648721
        assert_near(&weights(Mode::SequenceMask, 0, &[1; 3]), &[1.0; 3]);
        assert_near(&weights(Mode::SequenceMask, 1, &[1; 2]), &[0.0; 2]);
        assert_near(&weights(Mode::SequenceTruncate, 1, &[2; 2]), &[1.2; 2]);
    }

    #[test]
    fn fresh_tokens_weigh_one_whatever_the_rule() {
        assert_near(&weights(Mode::TokenTruncate, 0, &[0, 3, 1]), &[1.0, 1.0, 0.904837]);
        assert_near(&weights(Mode::SequenceMask, 1, &[0, 1]), &[1.0, 0.0]);
        for rule in [Rule::Drop, Rule::Truncate, Rule::Keep] {
            let staleness = Staleness { rule, ..Staleness::default() };
            assert_eq!(staleness.weights(OLD[1], SAMPLER[1], &[0, 0]), None);
        }
    }

    #[test]
    fn a_rule_may_drop_or_keep_what_is_stale() {
        let by = |rule| Staleness { rule, ..Staleness::default() }.weights(OLD[0], SAMPLER[0], &[1, 0, 2]);
        assert_eq!(by(Rule::Drop), Some(vec![0.0, 1.0, 0.0]));
        assert_eq!(by(Rule::Keep), None);
    }

    #[test]
    fn a_sampler_that_ruled_a_token_out_leaves_its_weight_finite() {
        let staleness = Staleness::default();
        assert_eq!(staleness.weights(&[-1.0], &[f64::NEG_INFINITY], &[1]), Some(vec![2.0]));
    }

    #[test]
    fn settings_out_of_range_are_reported_at_once() {
        let wrong = ImportanceSampling { clip_max: 0.5, clip_min: -1.0, ..ImportanceSampling::default() };
        let told = ["clip_max must be at least 1, but is 0.5", "clip_min must lie between 0 and 1, but is -1"];
        assert_eq!(wrong.validate(), told);
        assert!(ImportanceSampling::default().validate().is_empty());
    }
}
