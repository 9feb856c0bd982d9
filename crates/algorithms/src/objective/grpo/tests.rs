//! Golden values by hand, and properties over random batches.

use proptest::prelude::*;

use crate::staleness::{Mode, Rule};
use crate::{
    Advantage, Aggregation, Answer, Evaluation, Grpo, ImportanceSampling, KlEstimator, Normalizer, Sequence, Slopes,
    Staleness, Surrogate,
};

/// A sequence that owns its numbers.
#[derive(Debug, Clone)]
struct Tokens {
    new: Vec<f64>,
    old: Vec<f64>,
    reference: Vec<f64>,
    mask: Vec<bool>,
    advantages: Vec<f64>,
    weights: Option<Vec<f64>>,
}

impl Tokens {
    fn sampled(new: &[f64], old: &[f64], reference: &[f64], advantage: f64) -> Self {
        let [new, old, reference] = [new, old, reference].map(<[f64]>::to_vec);
        let (mask, advantages) = (vec![true; new.len()], vec![advantage; new.len()]);
        Self { mask, new, old, reference, advantages, weights: None }
    }

    fn view(&self) -> Sequence<'_> {
        let Self { new, old, reference, mask, advantages, weights } = self;
        Sequence {
            new,
            old,
            reference: Some(reference),
            mask,
            advantages,
            weights: weights.as_deref(),
            entropies: None,
        }
    }
}

const AGGREGATIONS: [Aggregation; 4] =
    [Aggregation::Grpo, Aggregation::Dapo, Aggregation::DrGrpo, Aggregation::SequenceSum];

fn normalizer(grpo: &Grpo, batch: &[Tokens]) -> Normalizer {
    grpo.normalizer(batch.iter().map(|sequence| sequence.view().sampled()))
}

/// Evaluates `part` of a batch; the slopes come sequence after sequence.
fn evaluate(grpo: &Grpo, part: &[Tokens], normalizer: &Normalizer) -> (Evaluation, Vec<f64>) {
    let views: Vec<_> = part.iter().map(Tokens::view).collect();
    let mut slopes = Slopes::zeros(part.iter().map(|sequence| sequence.new.len()).sum());
    slopes.log_probs.fill(f64::NAN);
    let evaluation = grpo.evaluate(&views, normalizer, &mut slopes);
    (evaluation, slopes.log_probs)
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
                let token = Tokens::sampled(&sequence.new[t..=t], &sequence.old[t..=t], &[0.0], sequence.advantages[t]);
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

    fn surrogate(surrogate: Surrogate, aggregation: Aggregation) -> Grpo {
        Grpo { surrogate, ..with(aggregation) }
    }

    #[test]
    fn sequence_sums_are_averaged() {
        assert_loss(&with(Aggregation::SequenceSum), -1.523493);
    }

    #[test]
    fn a_dual_clip_holds_bad_answers_back_too() {
        // Below 1 + clip_high, which no run may choose, it holds back both: -1.65 - 1.357256 - 0.909796 + 0.6 + 0.409365
        assert_loss(&Grpo { dual_clip: Some(1.1), ..with(Aggregation::Dapo) }, -0.581537);
    }

    #[test]
    fn gspo_has_one_ratio_for_an_answer() {
        // exp(-0.4 / 3) = 0.875173, exp(0 / 2) = 1
        for variant in [Surrogate::Gspo, Surrogate::GspoToken] {
            assert_loss(&surrogate(variant, Aggregation::Grpo), -0.406380);
        }
        let (evaluation, _) = whole(&surrogate(Surrogate::Gspo, Aggregation::Grpo), &batch());
        assert!((evaluation.mean_ratio() - (3.0 * 0.875173 + 2.0) / 5.0).abs() < 1e-6);
        // LUSPO: as long answers count more
        assert_loss(&surrogate(Surrogate::Gspo, Aggregation::SequenceSum), -1.469140);
    }

    #[test]
    fn gmpo_clips_before_it_averages() {
        for (clip, expected) in [(0.4, -0.406380), (0.15, -0.389202)] {
            let grpo = Grpo { clip_low: clip, clip_high: clip, ..surrogate(Surrogate::Gmpo, Aggregation::Grpo) };
            assert_loss(&grpo, expected);
        }
    }

    #[test]
    fn cispo_weighs_log_probabilities() {
        assert_loss(&Grpo { ratio_max: 1.1, ..surrogate(Surrogate::Cispo, Aggregation::Dapo) }, 0.654396);
        assert_loss(&surrogate(Surrogate::CispoRange, Aggregation::Dapo), 0.793478);
    }

    #[test]
    fn sapo_and_vespo_and_dppo() {
        assert_loss(&surrogate(Surrogate::Sapo, Aggregation::Grpo), -0.953084);
        // phi is 1.208089 for the first answer and 1 for the second
        assert_loss(&surrogate(Surrogate::Vespo, Aggregation::Dapo), 1.078494);
        // prime-rl's, whose old policy is the one that sampled
        let sampler: [&[f64]; 2] = [&[-1.3, -0.4, -1.4], &[-0.9, -1.5]];
        let batch = batch().into_iter().zip(sampler).map(|(tokens, old)| Tokens { old: old.to_vec(), ..tokens });
        let (Evaluation { loss, .. }, _) =
            whole(&surrogate(Surrogate::Dppo, Aggregation::Dapo), &batch.collect::<Vec<_>>());
        assert!((loss - -0.583808).abs() < 1e-6, "{loss}");
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

/// A token of which nothing but its log-probability is known.
fn alone() -> Sequence<'static> {
    Sequence {
        new: &[-1.0],
        old: &[-1.0],
        reference: None,
        mask: &[true],
        advantages: &[1.0],
        weights: None,
        entropies: None,
    }
}

#[test]
fn entropy_earns_what_its_token_weighs() {
    let entropies = [0.5, f64::NAN, 2.0];
    let mask = [true, false, true];
    let (zeros, advantages) = ([0.0; 3], [0.0; 3]);
    let sequence = Sequence {
        new: &zeros,
        old: &zeros,
        mask: &mask,
        advantages: &advantages,
        entropies: Some(&entropies),
        ..alone()
    };
    let grpo = Grpo { entropy_coef: 0.1, ..Grpo::default() };
    let mut slopes = Slopes::zeros(3);
    // Two of four tokens of the batch: (0.5 + 2) x 0.1 / 4.
    let evaluation = grpo.evaluate(&[sequence], &grpo.normalizer([2, 2]), &mut slopes);
    assert!((evaluation.loss + 0.0625).abs() < 1e-12, "{evaluation:?}");
    assert_eq!(slopes.entropies, [-0.025, 0.0, -0.025]);
}

#[test]
fn how_far_a_policy_has_moved_is_measured_from_where_the_update_began() {
    let sequence =
        Sequence { new: &[-1.0, -2.0], old: &[-1.5, -2.0], mask: &[true; 2], advantages: &[0.0; 2], ..alone() };
    let grpo = Grpo::default();
    let moved = grpo.evaluate(&[sequence], &grpo.normalizer([2]), &mut Slopes::zeros(2)).mean_moved();
    // exp(.5) - .5 - 1 for the one that moved
    assert!((moved - (0.5f64.exp() - 1.5) / 2.0).abs() < 1e-12, "{moved}");
}

#[test]
fn without_a_reference_there_is_no_kl() {
    let sequence = alone();
    let grpo = Grpo::default();
    let evaluation = grpo.evaluate(&[sequence], &grpo.normalizer([1]), &mut Slopes::zeros(1));
    assert_eq!((evaluation.loss, evaluation.mean_kl()), (-1.0, 0.0));
}

#[test]
#[should_panic(expected = "a KL term needs a reference policy")]
fn a_kl_term_without_a_reference_is_refused() {
    let sequence = alone();
    let grpo = Grpo { kl_coef: 0.1, ..Grpo::default() };
    grpo.evaluate(&[sequence], &grpo.normalizer([1]), &mut Slopes::zeros(1));
}

#[test]
fn an_episode_that_sampled_nothing_adds_nothing() {
    let silent = Tokens { mask: vec![false; 2], ..Tokens::sampled(&[-1.0, -2.0], &[-1.0; 2], &[-1.0; 2], 1.0) };
    let empty = Tokens::sampled(&[], &[], &[], 1.0);
    for (aggregation, surrogate) in
        AGGREGATIONS.into_iter().flat_map(|it| Surrogate::ALL.map(|surrogate| (it, surrogate)))
    {
        let grpo = Grpo { aggregation, surrogate, ..Grpo::default() };
        let (evaluation, slopes) = whole(&grpo, &[silent.clone(), empty.clone()]);
        assert_eq!((evaluation.loss.abs(), evaluation.tokens, slopes), (0.0, 0, vec![0.0; 2]), "{grpo:?}");
        assert_eq!((evaluation.clip_fraction(), evaluation.mean_ratio()), (0.0, 0.0));
    }
}

#[test]
fn a_token_that_either_policy_rules_out_keeps_the_batch_finite() {
    let infinite = f64::NEG_INFINITY;
    for (surrogate, advantage) in Surrogate::ALL.into_iter().flat_map(|it| [(it, 1.5), (it, -0.5)]) {
        let grpo = Grpo { kl_coef: 0.1, surrogate, ..Grpo::default() };
        let tokens =
            Tokens::sampled(&[infinite, -1.0, -1.0], &[-1.0, -900.0, -1.0], &[-1.0, -1.0, infinite], advantage);
        let (evaluation, slopes) = whole(&grpo, &[tokens]);
        assert!(
            evaluation.loss.is_finite() && slopes.iter().all(|slope| slope.is_finite()),
            "{surrogate:?}: {evaluation:?} {slopes:?}"
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
        advantages: vec![advantage; tokens.len()],
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
    let surrogate = prop::sample::select(Surrogate::ALL.to_vec());
    let kl = (
        prop::sample::select(vec![KlEstimator::K1, KlEstimator::K2, KlEstimator::K3]),
        prop_oneof![Just(0.0), 0.01..0.5f64],
    );
    let clip = (0.05..0.4f64, 0.05..0.4f64, prop::option::of(1.5..3.0f64));
    (surrogate, prop::sample::select(AGGREGATIONS.to_vec()), clip, kl).prop_map(
        |(surrogate, aggregation, (clip_low, clip_high, dual_clip), (kl, kl_coef))| Grpo {
            surrogate,
            aggregation,
            clip_low,
            clip_high,
            dual_clip,
            kl,
            kl_coef,
            max_completion_tokens: 8,
            ..Grpo::default()
        },
    )
}

/// Whether the loss of a sequence has a kink so near that a finite difference would straddle it.
fn near_a_kink(grpo: &Grpo, sequence: &Tokens) -> bool {
    let view = sequence.view();
    let sampled = || view.sampled_at();
    let differences: Vec<f64> = sampled().map(|t| sequence.new[t] - sequence.old[t]).collect();
    let mean = differences.iter().map(|it| it.clamp(-20.0, 20.0)).sum::<f64>() / differences.len().max(1) as f64;
    let apart = sampled().map(|t| sequence.new[t] - sequence.reference[t]);
    let moved = sampled().map(|t| sequence.new[t].exp() - sequence.old[t].exp());
    let mut edges = vec![(1.0 - grpo.clip_low).ln(), (1.0 + grpo.clip_high).ln(), 20.0, -20.0];
    edges.extend([-grpo.clip_low, grpo.clip_high, grpo.dual_clip.unwrap_or(9.0).ln()]);
    let near = |value: f64, edges: &[f64]| edges.iter().any(|edge| (value - edge).abs() < 1e-4);
    differences.iter().copied().chain(apart).chain([mean]).any(|value| near(value, &edges))
        || moved.into_iter().any(|value| near(value, &[-grpo.clip_low, grpo.clip_high]))
}

/// How large the terms are that a sequence's loss is summed from: they may cancel, and what was lost in rounding them does not come back.
fn magnitude(grpo: &Grpo, sequence: &Tokens, normalizer: &Normalizer) -> f64 {
    let alone = |t: usize, advantage: f64, kl_coef: f64| {
        let mask = (0..sequence.mask.len()).map(|other| other == t).collect();
        let token = Tokens { mask, advantages: vec![advantage; sequence.mask.len()], ..sequence.clone() };
        evaluate(&Grpo { kl_coef, ..grpo.clone() }, &[token], normalizer).0.loss.abs()
    };
    let sampled = (0..sequence.mask.len()).filter(|t| sequence.mask[*t]);
    sampled.map(|t| alone(t, sequence.advantages[t], 0.0) + alone(t, 0.0, grpo.kl_coef)).sum()
}

proptest! {
    #[test]
    fn slopes_agree_with_finite_differences(grpo in grpo(), sequence in tokens()) {
        const STEP: f64 = 1e-6;
        // Its slopes are not those of its value; they have a test of their own.
        prop_assume!(grpo.surrogate != Surrogate::GspoToken && !near_a_kink(&grpo, &sequence));
        // Where nothing is differentiated through the ratio, it is held fast by moving both policies.
        let held = matches!(grpo.surrogate, Surrogate::Cispo | Surrogate::CispoRange | Surrogate::Vespo);
        let batch = [sequence];
        let normalizer = normalizer(&grpo, &batch);
        let (_, slopes) = whole(&grpo, &batch);
        for (t, slope) in slopes.iter().enumerate().filter(|(t, _)| batch[0].mask[*t]) {
            let loss = |shift: f64| {
                let mut moved = batch[0].clone();
                moved.new[t] += shift;
                moved.old[t] += if held { shift } else { 0.0 };
                evaluate(&grpo, &[moved], &normalizer).0.loss
            };
            let numeric = (loss(STEP) - loss(-STEP)) / (2.0 * STEP);
            let rounding = 4.0 * f64::EPSILON * magnitude(&grpo, &batch[0], &normalizer).max(1.0) / STEP;
            prop_assert!((slope - numeric).abs() < 1e-7 * slope.abs().max(1.0) + rounding, "{} is not {}", slope, numeric);
        }
    }

    #[test]
    fn gspo_token_is_gspo_where_all_tokens_of_an_answer_count_alike(grpo in grpo(), tokens in tokens()) {
        let tokens = Tokens { weights: None, ..tokens };
        let ruled_out = tokens.new.iter().zip(&tokens.old).any(|(new, old)| (new - old).abs() > 20.0);
        prop_assume!(!ruled_out);
        let of = |surrogate| whole(&Grpo { surrogate, kl_coef: 0.0, ..grpo.clone() }, std::slice::from_ref(&tokens));
        let ((one, apart), (sum, together)) = (of(Surrogate::GspoToken), of(Surrogate::Gspo));
        prop_assert!((one.loss - sum.loss).abs() < 1e-12 * one.loss.abs().max(1.0));
        for (apart, together) in apart.iter().zip(together) {
            prop_assert!((apart - together).abs() < 1e-12 * apart.abs().max(1.0));
        }
    }

    #[test]
    fn the_first_step_from_a_policy_is_the_same_whatever_its_surrogate(grpo in grpo(), tokens in tokens()) {
        let tokens = Tokens { old: tokens.new.clone(), weights: None, ..tokens };
        let (evaluation, expected) = whole(&Grpo { surrogate: Surrogate::Clip, ..grpo.clone() }, std::slice::from_ref(&tokens));
        prop_assert!(evaluation.tokens == 0 || (evaluation.mean_ratio() - 1.0).abs() < 1e-12);
        for surrogate in Surrogate::ALL {
            let (_, slopes) = whole(&Grpo { surrogate, ratio_max: 5.0, ..grpo.clone() }, std::slice::from_ref(&tokens));
            // SAPO's gate is at its steepest there, and 4 / T is what makes that 1.
            for (slope, expected) in slopes.iter().zip(&expected) {
                prop_assert!((slope - expected).abs() < 1e-9, "{:?}: {} is not {}", surrogate, slope, expected);
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
        let answers = |_: &Tokens| Answer { reward, tokens: 2 };
        let advantages = Advantage::GroupStd.estimate(&[batch.iter().map(answers).collect()]).concat();
        let grpo = Grpo { kl_coef: 0.0, ..grpo };
        prop_assume!(grpo.surrogate != Surrogate::Dppo);
        let teach = |(tokens, advantage): (Tokens, f64)| {
            Tokens { advantages: vec![advantage; tokens.new.len()], ..tokens }
        };
        let flat: Vec<_> = batch.into_iter().zip(advantages).map(teach).collect();
        let (evaluation, slopes) = whole(&grpo, &flat);
        prop_assert_eq!(evaluation.loss.abs(), 0.0);
        prop_assert!(slopes.iter().all(|slope| *slope == 0.0));
    }
}
