//! What holds for any objective over random batches.

use proptest::prelude::*;

use super::*;

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
