//! Every instruction set computes the same: what is not fused bit by bit, what is fused within the stated errors, AVX-512 as AVX2 does.

use super::simd::levels::at_each;
use super::simd::{Level, exp, exp2_product, multiversion};
use super::*;
use crate::{Gating, Scoring, Segment};

const SINKS: [f32; 2] = [0.4, -0.7];
/// One that is plain and one that has everything.
const SCORINGS: [Scoring<'static, f32>; 2] = [
    Scoring { scale: 0.35, window: None, soft_cap: None, sinks: None },
    Scoring { scale: 0.35, window: Some(20), soft_cap: Some(3.0), sinks: Some(&SINKS) },
];

multiversion! {
    fn exps<const FMA: bool>(x: &[f32], y: &mut [f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = exp::<FMA>(*x));
    }
}

multiversion! {
    fn powers<const FMA: bool>(x: &[f32], factor: f32, y: &mut [f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = exp2_product::<FMA>(*x, factor));
    }
}

/// `n` numbers in `(-scale, scale)`.
fn numbers(seed: usize, n: usize, scale: f32) -> Vec<f32> {
    crate::reference::numbers(seed, n).into_iter().map(|x| x as f32 * scale).collect()
}

/// From `low` to `high` in `n` steps.
fn steps(low: f64, high: f64, n: usize) -> Vec<f32> {
    (0..=n).map(|i| (low + (high - low) * i as f64 / n as f64) as f32).collect()
}

/// The largest error, in units in the last place of what is right.
fn ulps(found: &[f32], right: impl Iterator<Item = f64>) -> f64 {
    let error = |(found, right): (&f32, f64)| {
        let exponent = (right.abs() as f32).to_bits() >> 23;
        (f64::from(*found) - right).abs() / (f64::from(exponent) - 127.0 - 23.0).exp2()
    };
    found.iter().zip(right).map(error).fold(0.0, f64::max)
}

/// Asserts that `kernel` differs between instruction sets by no more than `tolerance`, in units of the largest entry (or of 1), and not
/// at all between those that fuse.
#[track_caller]
fn assert_agree(tolerance: f32, kernel: impl Fn() -> Vec<f32> + Sync) {
    let found = at_each(kernel);
    let (_, base) = &found[0];
    let allowed = tolerance * base.iter().fold(1.0, |largest: f32, x| largest.max(x.abs()));
    for (level, other) in &found[1..] {
        let off = base
            .iter()
            .zip(other)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, |worst: f32, x| if x > worst { x } else { worst });
        assert!(
            base.len() == other.len() && off <= allowed && !other.iter().any(|x| x.is_nan()),
            "{level:?} is {off} off"
        );
    }
    for pair in found[1..].windows(2) {
        assert!(pair[0].1.iter().map(|x| x.to_bits()).eq(pair[1].1.iter().map(|x| x.to_bits())), "{:?}", pair[1].0);
    }
}

#[test]
fn the_best_level_is_tested_and_the_baseline_always() {
    let levels: Vec<Level> = at_each(Level::chosen)
        .into_iter()
        .map(|(asked, got)| {
            assert_eq!(asked, got);
            got
        })
        .collect();
    assert!(levels[0] == Level::Baseline && levels.last() == Some(&Level::best()));
}

#[test]
fn exponentials_are_right_to_2_ulp() {
    let x = steps(-87.0, 88.0, 1 << 20);
    for (level, found) in at_each(|| {
        let mut y = vec![0.0; x.len()];
        exps(&x, &mut y);
        y
    }) {
        let worst = ulps(&found, x.iter().map(|x| f64::from(*x).exp()));
        assert!(worst <= 2.0, "{worst} ulp at {level:?}");
    }
}

#[test]
fn powers_of_products_are_as_right_as_the_product() {
    const FACTOR: f32 = 1.1 * std::f32::consts::LOG2_E;
    let x = steps(-125.0 / f64::from(FACTOR), 0.0, 1 << 20);
    for (level, found) in at_each(|| {
        let mut y = vec![0.0; x.len()];
        powers(&x, FACTOR, &mut y);
        y
    }) {
        // Unfused, a product near 125 is off by up to 2^-18, and the power by ln 2 of that, in ulps of 2^-24; 2.5 ulp more for the power.
        let product = |x: &f32| f64::from(*x) * f64::from(FACTOR);
        let near: Vec<f32> = found.iter().zip(&x).filter(|(_, x)| product(x) > -1.0).map(|(y, _)| *y).collect();
        let near_right = x.iter().map(product).filter(|it| *it > -1.0).map(f64::exp2);
        let (worst, worst_near) = (ulps(&found, x.iter().map(|x| product(x).exp2())), ulps(&near, near_right));
        let allowed = if level == Level::Baseline { 2.5 + 64.0 * std::f64::consts::LN_2 } else { 2.5 };
        assert!(worst <= allowed && worst_near <= 2.5, "{worst} and {worst_near} ulp at {level:?}");
    }
}

#[test]
fn exponentials_of_what_is_beyond_the_range_and_of_0() {
    for (level, found) in at_each(|| {
        let x = [f32::NEG_INFINITY, -1e4, 0.0, 1e4, f32::INFINITY, f32::NAN, f32::from_bits(0x7f80_0001)];
        let mut y = [0.0; 7];
        exps(&x, &mut y);
        y
    }) {
        assert!(found[0] > 0.0 && found[0] < 2e-38 && found[1] == found[0], "{level:?}: {found:?}");
        assert!(
            found[2] == 1.0 && found[3] > 1e38 && found[4] == found[3] && found[4].is_finite(),
            "{level:?}: {found:?}"
        );
        assert!(found[5].is_nan() && found[6].is_nan(), "{level:?}: {found:?}");
    }
}

#[test]
fn log_probs_and_their_gradients() {
    // Several blocks and a rest that fills no vector; the largest logit comes late in some rows.
    for (rows, vocab, scale) in [(5, 5003, 8.0), (3, 4096, 1e4), (7, 33, 3.0), (4, 1, 1.0)] {
        let (mut logits, targets) = (numbers(1, rows * vocab, scale), vec![0; rows]);
        if vocab > 1 {
            logits[vocab - 1] = f32::NEG_INFINITY;
        }
        let upstream = (numbers(2, rows, 1.0), numbers(3, rows, 1.0));
        assert_agree(2e-6, || {
            let found = log_prob(&logits, &targets, 0.9, vocab);
            let mut d_logits = vec![0.0; rows * vocab];
            log_prob_backward(&logits, &targets, 0.9, &found, (&upstream.0, &upstream.1), &mut d_logits);
            [found.log_prob.iter().map(|x| x / scale).collect(), found.entropy, d_logits].concat()
        });
    }
}

#[test]
fn gates_and_their_gradients() {
    let (x, dy) = (numbers(1, 6 * 2 * 37, 6.0), numbers(2, 6 * 37, 1.0));
    for gating in [Gating::Silu, Gating::GeluTanh, Gating::Clamped { alpha: 1.702, limit: 4.0 }] {
        assert_agree(1e-6, || {
            let (mut y, mut dx) = (vec![0.0; dy.len()], x.clone());
            gate(gating, &x, &mut y, 37);
            gate_backward(gating, &dy, &mut dx, 37);
            [y, dx].concat()
        });
    }
}

#[test]
fn products() {
    // Tiles and panels of every height and a rest of columns, sums of several blocks and of slices.
    for (m, k, n) in [(197, 360, 150), (13, 700, 33), (2100, 40, 50)] {
        let (x, w, dy) = (numbers(1, m * k, 1.0), numbers(2, n * k, 1.0), numbers(3, m * n, 1.0));
        assert_agree(2e-6, || {
            let (mut y, mut dx, mut dw) = (dy.clone(), vec![0.0; m * k], vec![0.0; n * k]);
            linear_add(&x, &w, &mut y, (m, k, n));
            linear_input_gradient(&dy, &w, &mut dx, (m, k, n));
            linear_weight_gradient(&dy, &x, &mut dw, (m, k, n));
            [y, dx, dw].concat()
        });
    }
}

#[test]
fn products_with_weights_laid_out() {
    for rows in [1, 5, 40] {
        let (k, n) = (700, 75);
        let (x, w) = (numbers(1, rows * k, 1.0), numbers(2, n * k, 1.0));
        let short: Vec<f32> = w.iter().map(|x| f32::from_bits(x.to_bits() & 0xFFFF_0000)).collect();
        assert_agree(2e-6, || {
            let (mut whole, mut half) = (vec![0.0; rows * n], vec![1.0; rows * n]);
            multiply(&x, &Panels::new(&[&w], k), &mut whole, false);
            multiply(&x, &Panels::new(&[&short], k), &mut half, true);
            [whole, half].concat()
        });
    }
}

#[test]
fn attention_over_packed_sequences_and_its_gradients() {
    let segment = |tokens, parent| Segment { tokens, parent };
    let segments = vec![segment(70, None), segment(1, None), segment(13, Some(0))];
    let packed = Packed { segments, heads: 2, kv_heads: 1, head_dim: 8 };
    let rope = Rope::new(90, 8, 1e4);
    let (tokens, width) = (packed.tokens(), packed.heads * packed.head_dim);
    let (qkv, dout) = (numbers(1, tokens * packed.row(), 2.0), numbers(2, tokens * width, 1.0));
    for scoring in SCORINGS {
        assert_agree(2e-6, || {
            let (mut out, mut lse) = (vec![0.0; tokens * width], vec![0.0; tokens * packed.heads]);
            attention(&packed, &rope, scoring, &qkv, &mut out, &mut lse);
            let mut dqkv = vec![0.0; qkv.len()];
            attention_backward(&packed, &rope, scoring, &qkv, &out, &dout, &lse, &mut dqkv);
            [out, lse, dqkv].concat()
        });
    }
}

#[test]
fn attention_of_a_new_token_over_the_cache() {
    let rope = Rope::new(80, 8, 1e4);
    let qkv: Vec<Vec<f32>> = (0..75).map(|i| numbers(i, 2 * (2 + 2) * 8, 2.0)).collect();
    for scoring in SCORINGS {
        assert_agree(1e-6, || {
            let mut cache = KvCache::new(2, 1, 8, 80);
            let mut out = vec![0.0; 2 * 2 * 8];
            for (position, qkv) in qkv.iter().enumerate() {
                let rows = [0, 1].map(|slot| Row { position, slot });
                decode_attention(&mut cache, &rope, scoring, 2, &rows, qkv, &mut out);
            }
            out
        });
    }
}

#[test]
fn norms_sums_and_updates_bit_by_bit() {
    let (x, w, dy) = (numbers(1, 9 * 70, 2.0), numbers(2, 70, 1.0), numbers(3, 9 * 70, 1.0));
    assert_agree(0.0, || {
        let (mut y, mut rstd) = (vec![0.0; x.len()], vec![0.0; 9]);
        rms_norm(&x, &w, 1e-5, &mut y, &mut rstd);
        let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; 70]);
        rms_norm_backward(&dy, &x, &w, &rstd, &mut dx, &mut dw);
        let with = AdamW { lr: 1e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.01, step: 3 };
        let (mut p, mut m, mut v) = (x.clone(), dy.clone(), vec![0.5; x.len()]);
        adamw(&mut p, &dy, 0.5, &mut m, &mut v, with);
        [y, rstd, dx, dw, p, m, v, vec![max(&x)]].concat()
    });
}
