//! Selective log-softmax and entropy.

use proptest::prelude::*;
use stateset_kernels::{cpu, reference};

use crate::{assert_close, numbers, reproducible, same_bits, wide};

/// Logits up to `scale`; `tolerance` for values and gradients, in units of the largest expected entry.
fn case(rows: usize, vocab: usize, temperature: f32, scale: f32, seed: u64, (values, gradients): (f64, f64)) {
    let logits = numbers(seed, rows * vocab, scale);
    let targets: Vec<u32> = (0..rows).map(|i| ((seed as usize + 31 * i) % vocab) as u32).collect();
    let (d_log_prob, d_entropy) = (numbers(seed + 1, rows, 1.0), numbers(seed + 2, rows, 1.0));
    let [log_prob, entropy, d_logits, turned] = reproducible(|| {
        let forward = cpu::log_prob(&logits, &targets, temperature, vocab);
        let (mut d_logits, mut turned) = (vec![f32::NAN; rows * vocab], logits.clone());
        let upstream = (d_log_prob.as_slice(), d_entropy.as_slice());
        cpu::log_prob_backward(&logits, &targets, temperature, &forward, upstream, &mut d_logits);
        cpu::log_prob_backward_in_place(&mut turned, &targets, temperature, &forward, upstream);
        [forward.log_prob, forward.entropy, d_logits, turned]
    });
    assert!(same_bits(&d_logits, &turned), "in place and apart disagree");
    let (logits, temperature) = (wide(&logits), f64::from(temperature));
    let expected = reference::log_prob(&logits, &targets, temperature, vocab);
    assert_close(&log_prob, &expected.log_prob, values);
    assert_close(&entropy, &expected.entropy, values);
    let upstream = (wide(&d_log_prob), wide(&d_entropy));
    let expected = reference::log_prob_backward(&logits, &targets, temperature, vocab, (&upstream.0, &upstream.1));
    assert_close(&d_logits, &expected, gradients);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn log_probs_entropies_and_gradients(
        rows in 0..50usize, vocab in 1..200usize, temperature in prop_oneof![Just(1.0f32), 0.3..2.0f32], seed in 0..1000u64,
    ) {
        case(rows, vocab, temperature, 8.0, seed, (2e-6, 5e-6));
    }

    #[test]
    fn extreme_logits_stay_finite_and_right(rows in 1..20usize, vocab in 1..100usize, seed in 0..1000u64) {
        case(rows, vocab, 1.0, 1e4, seed, (2e-6, 5e-6));
    }
}

#[test]
fn two_equal_extreme_logits_share_the_probability() {
    let (logits, targets) = ([1e4, -1e4, 1e4], [0]);
    let cpu::LogProb { log_prob, entropy, .. } = cpu::log_prob(&logits, &targets, 1.0, 3);
    let half = 0.5f64.ln();
    assert_close(&log_prob, &[half], 1e-6);
    assert_close(&entropy, &[-half], 1e-6);
}

#[test]
fn an_impossible_token_neither_adds_entropy_nor_gets_a_gradient() {
    // 33 logits, so that the impossible ones stand both in the vectors and in what is left over.
    let mut logits = vec![0.0f32; 33];
    (logits[3], logits[32]) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    let forward = cpu::log_prob(&logits, &[0], 1.0, 33);
    assert_close(&forward.log_prob, &[-(31f64.ln())], 1e-6);
    assert_close(&forward.entropy, &[31f64.ln()], 1e-6);
    let mut d_logits = vec![f32::NAN; 33];
    cpu::log_prob_backward(&logits, &[0], 1.0, &forward, (&[1.0], &[1.0]), &mut d_logits);
    let expected: Vec<f64> = reference::log_prob_backward(&wide(&logits), &[0], 1.0, 33, (&[1.0], &[1.0]));
    assert_close(&d_logits, &expected, 1e-6);
}

#[test]
fn a_row_that_is_no_distribution_is_not_hidden() {
    // Some NaNs, as bits that no arithmetic made, would be lost in a power of two.
    let odd = f32::from_bits(0x7f80_0001);
    let rows = [f32::NAN, odd, f32::INFINITY].map(|bad| [0.0, bad, 1.0]);
    for row in rows.into_iter().chain([[f32::NEG_INFINITY; 3]]) {
        let forward = cpu::log_prob(&row, &[0], 1.0, 3);
        assert!(forward.log_prob[0].is_nan() && forward.entropy[0].is_nan(), "{row:?}: {forward:?}");
    }
}

#[test]
fn a_vocabulary_of_thousands() {
    case(3, 5003, 1.0, 8.0, 1, (2e-6, 5e-6));
}

#[test]
fn the_only_token_of_a_vocabulary_is_certain() {
    let forward = cpu::log_prob(&[-3.0, 1e4], &[0, 0], 0.7, 1);
    assert_eq!(forward.log_prob, [0.0; 2]);
    assert!(forward.entropy.iter().all(|it| it.abs() < 1e-30), "{:?}", forward.entropy);
}

#[test]
fn a_row_may_begin_with_thousands_of_impossible_tokens() {
    let mut logits = vec![f32::NEG_INFINITY; 5000];
    logits[4990..].fill(-2.0);
    let forward = cpu::log_prob(&logits, &[4995], 1.0, 5000);
    assert_close(&forward.log_prob, &[-(10f64.ln())], 1e-6);
    assert_close(&forward.entropy, &[10f64.ln()], 1e-6);
}

#[test]
fn logits_that_grow_along_the_row_are_summed_as_if_the_largest_had_come_first() {
    let logits: Vec<f32> = (0..30_000).map(|i| i as f32 * 1e-3).collect();
    let forward = cpu::log_prob(&logits, &[29_000], 1.0, logits.len());
    let expected = reference::log_prob(&wide(&logits), &[29_000], 1.0, logits.len());
    assert_close(&forward.log_prob, &expected.log_prob, 1e-6);
    assert_close(&forward.entropy, &expected.entropy, 2e-6);
}
