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
