//! Golden values by hand, and properties over random batches.

use proptest::prelude::*;

use crate::staleness::{Mode, Rule};
use crate::{Aggregation, Evaluation, Grpo, ImportanceSampling, Normalizer, Sequence, Staleness};

/// A sequence that owns its numbers.
#[derive(Debug, Clone)]
struct Tokens {
    new: Vec<f64>,
    old: Vec<f64>,
    reference: Vec<f64>,
    mask: Vec<bool>,
    advantage: f64,
    weights: Option<Vec<f64>>,
}

impl Tokens {
    fn sampled(new: &[f64], old: &[f64], reference: &[f64], advantage: f64) -> Self {
        let [new, old, reference] = [new, old, reference].map(<[f64]>::to_vec);
        Self { mask: vec![true; new.len()], new, old, reference, advantage, weights: None }
    }

    fn view(&self) -> Sequence<'_> {
        let Self { new, old, reference, mask, advantage, weights } = self;
        Sequence { new, old, reference: Some(reference), mask, advantage: *advantage, weights: weights.as_deref() }
    }
}

fn normalizer(grpo: &Grpo, batch: &[Tokens]) -> Normalizer {
    grpo.normalizer(batch.iter().map(|sequence| sequence.view().sampled()))
}

/// Evaluates `part` of a batch; the slopes come sequence after sequence.
fn evaluate(grpo: &Grpo, part: &[Tokens], normalizer: &Normalizer) -> (Evaluation, Vec<f64>) {
    let views: Vec<_> = part.iter().map(Tokens::view).collect();
    let mut slopes = vec![f64::NAN; part.iter().map(|sequence| sequence.new.len()).sum()];
    let evaluation = grpo.evaluate(&views, normalizer, &mut slopes);
    (evaluation, slopes)
}

fn whole(grpo: &Grpo, batch: &[Tokens]) -> (Evaluation, Vec<f64>) {
    evaluate(grpo, batch, &normalizer(grpo, batch))
}

mod golden {
    //! Two answers of 3 and 2 tokens, advantages 1.5 and -0.5. Working, to 6 decimals:
    //!
    //! | token | new - old | ratio    | clipped to | loss       |
    //! |-------|-----------|----------|------------|------------|
    //! | 0, 0  |  0.2      | 1.221403 | 1.2        | -1.5 x 1.2      = -1.800000 |
    //! | 0, 1  | -0.1      | 0.904837 |            | -1.5 x 0.904837 = -1.357256 |
    //! | 0, 2  | -0.5      | 0.606531 | 0.8, but the minimum is the smaller product | -1.5 x 0.606531 = -0.909796 |
    //! | 1, 0  |  0.2      | 1.221403 | 1.2, but the minimum is the smaller product |  0.5 x 1.221403 =  0.610701 |
    //! | 1, 1  | -0.2      | 0.818731 |            |  0.5 x 0.818731 =  0.409365 |
    //!
    //! The same numbers in Python: `l = [-min(r*A, max(.8, min(1.2, r))*A) for r in (exp(n - o) for n, o in zip(new, old))]`.

    use super::*;

    const ROWS: [&[f64]; 2] = [&[-1.800000, -1.357256, -0.909796], &[0.610701, 0.409365]];

    fn batch() -> [Tokens; 2] {
        [
            Tokens::sampled(&[-1.0, -0.5, -2.0], &[-1.2, -0.4, -1.5], &[-1.1, -0.6, -1.8], 1.5),
            Tokens::sampled(&[-0.7, -1.2], &[-0.9, -1.0], &[-0.8, -1.3], -0.5),
        ]
    }

    fn assert_loss(grpo: &Grpo, expected: f64) {
        let (Evaluation { loss, .. }, _) = whole(grpo, &batch());
        assert!((loss - expected).abs() < 1e-6, "{loss} is not {expected}");
    }

    fn with(aggregation: Aggregation) -> Grpo {
        Grpo { aggregation, max_completion_tokens: 4, ..Grpo::default() }
    }

    #[test]
    fn each_token_loses_the_smaller_product() {
        for (sequence, row) in batch().iter().zip(ROWS) {
            for (t, expected) in row.iter().enumerate() {
                let token = Tokens::sampled(&sequence.new[t..=t], &sequence.old[t..=t], &[0.0], sequence.advantage);
                let (Evaluation { loss, .. }, _) = whole(&Grpo::default(), &[token]);
                assert!((loss - expected).abs() < 1e-6, "{loss} is not {expected}");
            }
        }
    }

    #[test]
    fn grpo_is_the_mean_of_sequence_means() {
        // (-4.067052 / 3 + 1.020066 / 2) / 2 = (-1.355684 + 0.510033) / 2
        assert_loss(&with(Aggregation::Grpo), -0.422825);
    }

    #[test]
    fn dapo_is_the_mean_of_all_tokens() {
        // (-4.067052 + 1.020066) / 5
        assert_loss(&with(Aggregation::Dapo), -0.609397);
    }

    #[test]
    fn dr_grpo_divides_by_sequences_times_the_longest_completion() {
        // -3.046985 / (2 x 4)
        assert_loss(&with(Aggregation::DrGrpo), -0.380873);
    }

    #[test]
    fn a_higher_upper_clip_lets_the_first_token_through() {
        // its loss becomes -1.5 x 1.221403 = -1.832104, 0.032104 less: -0.609397 - 0.032104 / 5
        assert_loss(&Grpo { clip_high: 0.28, ..Grpo::default() }, -0.615818);
    }

    #[test]
    fn the_kl_term_adds_its_coefficient_times_the_mean_k3() {
        // k3 of -0.1, -0.1, 0.2, -0.1, -0.1 = 0.004837 x 4, 0.021403: mean 0.008150; -0.609397 + 0.04 x 0.008150
        let grpo = Grpo { kl_coef: 0.04, ..Grpo::default() };
        assert_loss(&grpo, -0.609071);
        let (evaluation, _) = whole(&grpo, &batch());
        assert!((evaluation.mean_kl() - 0.008150).abs() < 1e-6);
    }

    /// The loss if an older policy sampled every token, weights cut off at 1.2.
    fn stale_loss(mode: Mode) -> f64 {
        let importance = ImportanceSampling { mode, clip_max: 1.2, clip_min: 0.0 };
        let staleness = Staleness { rule: Rule::Truncate, importance };
        let sampler: [&[f64]; 2] = [&[-1.3, -0.4, -1.4], &[-0.9, -1.5]];
        let weigh = |(tokens, sampler): (Tokens, &[f64])| {
            let weights = staleness.weights(&tokens.old, sampler, &vec![1; sampler.len()]);
            Tokens { weights, ..tokens }
        };
        whole(&Grpo::default(), &batch().into_iter().zip(sampler).map(weigh).collect::<Vec<_>>()).0.loss
    }

    #[test]
    fn stale_tokens_are_weighed_by_their_truncated_ratio() {
        // (-1.8 x 1.105171 - 1.357256 - 0.909796 x 0.904837 + 0.610701 + 0.409365 x 1.2) / 5
        assert!((stale_loss(Mode::TokenTruncate) - -0.613568).abs() < 1e-6);
        // the last token's ratio of 1.648721 is out of range: 0.409365 x 0
        assert!((stale_loss(Mode::TokenMask) - -0.711816).abs() < 1e-6);
        // the episodes' ratios are 1 and 1.648721: -4.067052 / 5
        assert!((stale_loss(Mode::SequenceMask) - -0.813410).abs() < 1e-6);
    }

    #[test]
    fn one_of_five_tokens_is_clipped_and_its_slope_is_zero() {
        let (evaluation, slopes) = whole(&Grpo::default(), &batch());
        assert_eq!((evaluation.tokens, evaluation.clipped_low, evaluation.clipped_high), (5, 0, 1));
        assert!((evaluation.clip_fraction() - 0.2).abs() < 1e-12);
        // (1.221403 + 0.904837 + 0.606531 + 1.221403 + 0.818731) / 5
        assert!((evaluation.mean_ratio() - 0.954581).abs() < 1e-6);
        assert_eq!(slopes[0], 0.0);
        assert!((slopes[1] - -1.357256 / 5.0).abs() < 1e-6, "unclipped, the slope is the loss: d(-A r)/d new = -A r");
    }
}

#[test]
fn without_a_reference_there_is_no_kl() {
    let sequence =
        Sequence { new: &[-1.0], old: &[-1.0], reference: None, mask: &[true], advantage: 1.0, weights: None };
    let grpo = Grpo::default();
    let evaluation = grpo.evaluate(&[sequence], &grpo.normalizer([1]), &mut [0.0]);
    assert_eq!((evaluation.loss, evaluation.mean_kl()), (-1.0, 0.0));
}

#[test]
#[should_panic(expected = "a KL term needs a reference policy")]
fn a_kl_term_without_a_reference_is_refused() {
    let sequence =
        Sequence { new: &[-1.0], old: &[-1.0], reference: None, mask: &[true], advantage: 1.0, weights: None };
    let grpo = Grpo { kl_coef: 0.1, ..Grpo::default() };
    grpo.evaluate(&[sequence], &grpo.normalizer([1]), &mut [0.0]);
}

#[test]
fn an_episode_that_sampled_nothing_adds_nothing() {
    let silent = Tokens { mask: vec![false; 2], ..Tokens::sampled(&[-1.0, -2.0], &[-1.0; 2], &[-1.0; 2], 1.0) };
    let empty = Tokens::sampled(&[], &[], &[], 1.0);
    for aggregation in [Aggregation::Grpo, Aggregation::Dapo, Aggregation::DrGrpo] {
        let (evaluation, slopes) = whole(&Grpo { aggregation, ..Grpo::default() }, &[silent.clone(), empty.clone()]);
        assert_eq!((evaluation, slopes), (Evaluation::default(), vec![0.0; 2]));
        assert_eq!((evaluation.clip_fraction(), evaluation.mean_ratio()), (0.0, 0.0));
    }
}

#[test]
fn a_token_that_either_policy_rules_out_keeps_the_batch_finite() {
    let infinite = f64::NEG_INFINITY;
    let grpo = Grpo { kl_coef: 0.1, ..Grpo::default() };
    for advantage in [1.5, -0.5] {
        let tokens =
            Tokens::sampled(&[infinite, -1.0, -1.0], &[-1.0, -900.0, -1.0], &[-1.0, -1.0, infinite], advantage);
        let (evaluation, slopes) = whole(&grpo, &[tokens]);
        assert!(
            evaluation.loss.is_finite() && slopes.iter().all(|slope| slope.is_finite()),
            "{evaluation:?} {slopes:?}"
        );
    }
}

fn tokens() -> impl Strategy<Value = Tokens> {
    // Mostly nearby policies, sometimes log-ratios well beyond the clamp; sometimes no advantage, as in a flat group.
    let difference = || prop_oneof![6 => -0.6..0.6f64, 1 => -45.0..45.0f64];
    let token = (-8.0..0.0f64, difference(), difference(), prop::bool::weighted(0.7), 0.0..3.0f64);
    let advantage = prop_oneof![1 => Just(0.0), 5 => -2.0..2.0f64];
    (prop::collection::vec(token, 0..7), advantage, any::<bool>()).prop_map(|(tokens, advantage, stale)| Tokens {
        new: tokens.iter().map(|token| token.0).collect(),
        old: tokens.iter().map(|token| token.0 + token.1).collect(),
        reference: tokens.iter().map(|token| token.0 + token.2).collect(),
        mask: tokens.iter().map(|token| token.3).collect(),
        weights: stale.then(|| tokens.iter().map(|token| token.4).collect()),
        advantage,
    })
}

fn batch() -> impl Strategy<Value = Vec<Tokens>> {
    prop::collection::vec(tokens(), 1..7)
}

fn batch_and_order() -> impl Strategy<Value = (Vec<Tokens>, Vec<usize>)> {
    batch().prop_flat_map(|batch| {
        let order: Vec<usize> = (0..batch.len()).collect();
        (Just(batch), Just(order).prop_shuffle())
    })
}

fn grpo() -> impl Strategy<Value = Grpo> {
    let aggregation = prop_oneof![Just(Aggregation::Grpo), Just(Aggregation::Dapo), Just(Aggregation::DrGrpo)];
    (aggregation, 0.05..0.4f64, 0.05..0.4f64, prop_oneof![Just(0.0), 0.01..0.5f64]).prop_map(
        |(aggregation, clip_low, clip_high, kl_coef)| Grpo {
            aggregation,
            clip_low,
            clip_high,
            kl_coef,
            max_completion_tokens: 8,
            ..Grpo::default()
        },
    )
}

/// Whether the loss has a kink so near the token's log-probability that a finite difference would straddle it.
fn near_a_kink(grpo: &Grpo, sequence: &Tokens, t: usize) -> bool {
    let kinks = [(1.0 - grpo.clip_low).ln(), (1.0 + grpo.clip_high).ln(), 20.0, -20.0];
    let differences = [sequence.new[t] - sequence.old[t], sequence.new[t] - sequence.reference[t]];
    differences.iter().any(|difference| kinks.iter().any(|kink| (difference - kink).abs() < 1e-4))
}

proptest! {
    #[test]
    fn slopes_agree_with_finite_differences(grpo in grpo(), batch in batch()) {
        const STEP: f64 = 1e-6;
        let normalizer = normalizer(&grpo, &batch);
        let (_, slopes) = whole(&grpo, &batch);
        let mut slopes = slopes.into_iter();
        for sequence in &batch {
            for t in 0..sequence.new.len() {
                let slope = slopes.next().unwrap();
                if near_a_kink(&grpo, sequence, t) {
                    continue;
                }
                // One sequence at a time: a term of 1e8 elsewhere would drown the difference in rounding.
                let loss = |shift: f64| {
                    let mut moved = sequence.clone();
                    moved.mask.iter_mut().enumerate().for_each(|(other, sampled)| *sampled &= other == t);
                    moved.new[t] += shift;
                    let weight = normalizer.weight(sequence.view().sampled()) / normalizer.weight(1);
                    evaluate(&grpo, &[moved], &normalizer).0.loss * weight
                };
                let numeric = (loss(STEP) - loss(-STEP)) / (2.0 * STEP);
                let scale = loss(0.0).abs().max(1.0);
                prop_assert!((slope - numeric).abs() < 1e-7 * scale, "{} is not {}", slope, numeric);
            }
        }
    }

    #[test]
    fn neither_order_nor_split_of_a_batch_changes_any_slope(
        grpo in grpo(), (batch, order) in batch_and_order(), split in 1..7usize,
    ) {
        let normalizer = normalizer(&grpo, &batch);
        let (at_once, slopes_at_once) = whole(&grpo, &batch);
        let one_by_one: Vec<_> =
            batch.iter().map(|sequence| evaluate(&grpo, std::slice::from_ref(sequence), &normalizer)).collect();
        prop_assert_eq!(slopes_at_once, one_by_one.iter().flat_map(|(_, slopes)| slopes.clone()).collect::<Vec<_>>());

        let mut sum = Evaluation::default();
        for part in order.chunks(split) {
            let sequences: Vec<_> = part.iter().map(|&i| batch[i].clone()).collect();
            let (evaluation, slopes) = evaluate(&grpo, &sequences, &normalizer);
            sum += evaluation;
            prop_assert_eq!(slopes, part.iter().flat_map(|&i| one_by_one[i].1.clone()).collect::<Vec<_>>());
        }
        let magnitude: f64 = one_by_one.iter().map(|(evaluation, _)| evaluation.loss.abs()).sum();
        prop_assert!((sum.loss - at_once.loss).abs() <= 1e-14 * magnitude);
        prop_assert_eq!(
            (sum.tokens, sum.clipped_low, sum.clipped_high),
            (at_once.tokens, at_once.clipped_low, at_once.clipped_high)
        );
    }

    #[test]
    fn tokens_that_were_not_sampled_never_matter(grpo in grpo(), batch in batch()) {
        let (expected, slopes) = whole(&grpo, &batch);
        let mut poisoned = batch.clone();
        for sequence in &mut poisoned {
            for t in (0..sequence.mask.len()).filter(|&t| !sequence.mask[t]) {
                sequence.new[t] = f64::NAN;
                sequence.old[t] = f64::INFINITY;
                sequence.reference[t] = f64::NAN;
                sequence.weights.iter_mut().for_each(|weights| weights[t] = f64::NAN);
            }
        }
        let (evaluation, poisoned_slopes) = whole(&grpo, &poisoned);
        prop_assert_eq!(evaluation, expected);
        prop_assert_eq!(&poisoned_slopes, &slopes);
        let mask = batch.iter().flat_map(|sequence| &sequence.mask);
        prop_assert!(slopes.iter().zip(mask).all(|(slope, sampled)| *sampled || *slope == 0.0));
    }

    #[test]
    fn a_flat_group_teaches_nothing_without_a_kl_term(grpo in grpo(), batch in batch(), reward in -1.0..1.0f64) {
        let grpo = Grpo { kl_coef: 0.0, ..grpo };
        let advantages = grpo.advantages(&vec![reward; batch.len()]);
        let flat: Vec<_> = batch.into_iter().zip(advantages).map(|(tokens, advantage)| Tokens { advantage, ..tokens }).collect();
        let (evaluation, slopes) = whole(&grpo, &flat);
        prop_assert_eq!(evaluation.loss, 0.0);
        prop_assert!(slopes.iter().all(|slope| *slope == 0.0));
    }
}
