//! Kernels that go row by row or entry by entry: norm, gate, optimizer, exponentials and sums.

use proptest::prelude::*;
use stateset_kernels::{Gating, cpu, reference};

use crate::{assert_close, numbers, reproducible, wide};

const EPS: f32 = 1e-5;

fn norm_case(rows: usize, h: usize, seed: u64) {
    let (x, w, dy) = (numbers(seed, rows * h, 3.0), numbers(seed + 1, h, 2.0), numbers(seed + 2, rows * h, 1.0));
    // Gradients are added to what is there.
    let (dx_before, dw_before) = (numbers(seed + 3, rows * h, 1.0), numbers(seed + 4, h, 1.0));
    let [y, dx, dw, rstd] = reproducible(|| {
        let (mut y, mut dx, mut rstd) = (vec![f32::NAN; rows * h], dx_before.clone(), vec![f32::NAN; rows]);
        let mut dw = dw_before.clone();
        cpu::rms_norm(&x, &w, EPS, &mut y, &mut rstd);
        cpu::rms_norm_backward(&dy, &x, &w, &rstd, &mut dx, &mut dw);
        [y, dx, dw, rstd]
    });
    let (x, w, dy, eps) = (wide(&x), wide(&w), wide(&dy), f64::from(EPS));
    let (mut expected_dx, mut expected_dw) = reference::rms_norm_backward(&dy, &x, &w, eps);
    expected_dx.iter_mut().zip(&dx_before).for_each(|(dx, before)| *dx += f64::from(*before));
    expected_dw.iter_mut().zip(&dw_before).for_each(|(dw, before)| *dw += f64::from(*before));
    assert_close(&y, &reference::rms_norm(&x, &w, eps), 1e-6);
    // The two terms of dx are of size 1 / rms; in a row that is nearly zero they are large and cancel.
    let largest_term = rstd.iter().fold(1.0, |largest: f32, r| largest.max(*r));
    assert_close(&dx, &expected_dx, 2e-6 * f64::from(largest_term));
    assert_close(&dw, &expected_dw, 5e-6);
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|x| *x as f32).collect()
}

fn gating() -> impl Strategy<Value = Gating> {
    prop_oneof![Just(Gating::Silu), Just(Gating::GeluTanh), Just(Gating::Clamped { alpha: 1.702, limit: 7.0 })]
}

#[test]
fn rms_norm_sums_weight_gradients_over_many_rows() {
    norm_case(1100, 7, 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn rms_norm_and_its_gradients(rows in 0..100usize, h in 1..130usize, seed in 0..1000u64) {
        norm_case(rows, h, seed);
    }

    #[test]
    fn gate_and_its_gradient(
        rows in 0..30usize, n in 1..100usize, scale in prop_oneof![Just(3.0f32), Just(200.0)], gating in gating(), seed in 0..1000u64,
    ) {
        let (gate_up, dy) = (numbers(seed, rows * 2 * n, scale), numbers(seed + 1, rows * n, 1.0));
        let [y, d] = reproducible(|| {
            let (mut y, mut d) = (vec![f32::NAN; rows * n], gate_up.clone());
            cpu::gate(gating, &gate_up, &mut y, n);
            cpu::gate_backward(gating, &dy, &mut d, n);
            [y, d]
        });
        let (gate_up, dy) = (wide(&gate_up), wide(&dy));
        assert_close(&y, &reference::gate(gating, &gate_up, n), 1e-6);
        assert_close(&d, &reference::gate_backward(gating, &dy, &gate_up, n), 1e-6);
    }

    #[test]
    fn parts_of_rows_are_normed_group_by_group_and_the_rest_is_left_alone(
        rows in 0..100usize, (groups, h) in (1..4usize, 1..20usize), rest in 0..9usize, seed in 0..1000u64,
    ) {
        let width = groups * h + rest + 2 * h;
        let (x, dy) = (numbers(seed, rows * width, 3.0), numbers(seed + 1, rows * width, 1.0));
        let weights = [numbers(seed + 2, h, 2.0), numbers(seed + 3, 2 * h, 2.0)];
        // A group after the other, then columns of no span, then one wide group.
        let (first, second) = (groups * h, groups * h + rest);
        let spans = [
            cpu::Span { start: 0, groups, weights: &weights[0] },
            cpu::Span { start: second, groups: 1, weights: &weights[1] },
        ];
        let [y, dx, dw, dw2] = reproducible(|| {
            let (mut y, mut dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
            let (mut dw, mut dw2) = (vec![0.0; h], vec![0.0; 2 * h]);
            cpu::norm_columns(&x, width, &spans, EPS, &mut y);
            cpu::norm_columns_backward(&dy, &x, width, &spans, EPS, &mut dx, &mut [&mut dw, &mut dw2]);
            [y, dx, dw, dw2]
        });
        let columns = |of: &[f32], from: usize, to: usize| -> Vec<f64> {
            of.chunks_exact(width).flat_map(|row| wide(&row[from..to])).collect()
        };
        let eps = f64::from(EPS);
        prop_assert_eq!(columns(&y, first, second), columns(&x, first, second));
        prop_assert_eq!(columns(&dx, first, second), columns(&dy, first, second));
        for (from, to, weights, found) in [(0, first, &weights[0], dw), (second, width, &weights[1], dw2)] {
            let (x, dy, w) = (columns(&x, from, to), columns(&dy, from, to), wide(weights));
            assert_close(&narrow(&columns(&y, from, to)), &reference::rms_norm(&x, &w, eps), 1e-6);
            let (expected_dx, expected_dw) = reference::rms_norm_backward(&dy, &x, &w, eps);
            let largest = x.chunks_exact(w.len()).map(|x| 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + eps).sqrt());
            assert_close(&narrow(&columns(&dx, from, to)), &expected_dx, 4e-6 * largest.fold(1.0, f64::max));
            assert_close(&found, &expected_dw, 1e-5);
        }
    }

    #[test]
    fn a_bias_is_added_to_every_row_and_gets_their_gradients_sum(rows in 0..200usize, n in 1..600usize, seed in 0..1000u64) {
        let (x, bias) = (numbers(seed, rows * n, 1.0), numbers(seed + 1, n, 1.0));
        let [y, d] = reproducible(|| {
            let (mut y, mut d) = (x.clone(), bias.clone());
            cpu::add_bias(&mut y, &bias);
            cpu::bias_backward(&x, &mut d);
            [y, d]
        });
        let sum = |j: usize| f64::from(bias[j]) + (0..rows).map(|i| f64::from(x[i * n + j])).sum::<f64>();
        assert_close(&d, &(0..n).map(sum).collect::<Vec<_>>(), 1e-5);
        prop_assert!(y.iter().enumerate().all(|(i, y)| *y == x[i] + bias[i % n]));
    }

    #[test]
    fn tokens_go_to_their_best_experts_and_the_gradient_to_the_logits(
        rows in 0..50usize, (experts, each) in (1..20usize).prop_flat_map(|n| (Just(n), 1..=n)), normed: bool, seed in 0..1000u64,
    ) {
        let (logits, dw) = (numbers(seed, rows * experts, 3.0), numbers(seed + 1, rows * each, 1.0));
        let [weights, d] = reproducible(|| {
            let routes = cpu::route(&logits, experts, each, normed);
            let mut all = vec![0.0; rows * experts];
            for (i, (expert, weight)) in routes.experts.iter().zip(&routes.weights).enumerate() {
                all[i / each * experts + *expert as usize] = *weight;
            }
            let mut d = vec![f32::NAN; rows * experts];
            cpu::route_backward(&logits, experts, &routes, &dw, &mut d);
            [all, d]
        });
        let expected = reference::route(&wide(&logits), experts, each, normed);
        assert_close(&weights, &expected, 1e-6);
        // Along a few directions, by finite differences of the definition.
        let routes = cpu::route(&logits, experts, each, normed);
        let value = |logits: &[f64]| -> f64 {
            let all = reference::route(logits, experts, each, normed);
            let at = |(i, expert): (usize, &u32)| all[i / each * experts + *expert as usize] * f64::from(dw[i]);
            routes.experts.iter().enumerate().map(at).sum()
        };
        for i in (0..rows * experts).step_by(7) {
            let nudged = |by: f64| {
                let mut logits = wide(&logits);
                logits[i] += by;
                value(&logits)
            };
            let slope = (nudged(1e-6) - nudged(-1e-6)) / 2e-6;
            prop_assert!((slope - f64::from(d[i])).abs() < 1e-5, "{slope} is not {}", d[i]);
        }
    }

    #[test]
    fn rows_are_gathered_and_added_back_in_order(rows in 1..200usize, picks in 0..300usize, width in 1..9usize, seed in 0..1000u64) {
        let table = numbers(seed, rows * width, 1.0);
        let ids: Vec<u32> = numbers(seed + 1, picks, 1.0).iter().map(|x| ((x + 1.0) / 2.0 * rows as f32) as u32).collect();
        let ids: Vec<u32> = ids.into_iter().map(|id| id.min(rows as u32 - 1)).collect();
        let [gathered, sum] = reproducible(|| {
            let (mut gathered, mut sum) = (vec![f32::NAN; picks * width], table.clone());
            cpu::gather_rows(&table, &ids, &mut gathered, width);
            cpu::scatter_add_rows(&gathered, &ids, &mut sum, width);
            [gathered, sum]
        });
        let mut expected = table.clone();
        for (i, id) in ids.iter().enumerate() {
            for c in 0..width {
                prop_assert_eq!(gathered[i * width + c], table[*id as usize * width + c]);
                expected[*id as usize * width + c] += gathered[i * width + c];
            }
        }
        prop_assert_eq!(sum, expected);
    }

    #[test]
    fn adamw_over_several_steps(n in 1..300usize, steps in 1..5u64, scale in 0.01..1.0f32, seed in 0..1000u64) {
        let with = |step| cpu::AdamW { lr: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1, step };
        let start = numbers(seed, n, 1.0);
        let gradient = |step| numbers(seed + step, n, 5.0);
        let [p, m, v] = reproducible(|| {
            let (mut p, mut m, mut v) = (start.clone(), vec![0.0; n], vec![0.0; n]);
            (1..=steps).for_each(|step| cpu::adamw(&mut p, &gradient(step), scale, &mut m, &mut v, with(step)));
            [p, m, v]
        });
        let (mut expected_p, mut expected_m, mut expected_v) = (wide(&start), vec![0.0; n], vec![0.0; n]);
        for step in 1..=steps {
            let scaled: Vec<f64> = gradient(step).iter().map(|g| f64::from(*g) * f64::from(scale)).collect();
            let cpu::AdamW { lr, beta1, beta2, epsilon, weight_decay, step } = with(step);
            let [lr, beta1, beta2, epsilon, weight_decay] = [lr, beta1, beta2, epsilon, weight_decay].map(f64::from);
            let with = reference::AdamW { lr, beta1, beta2, epsilon, weight_decay, step };
            reference::adamw(&mut expected_p, &scaled, &mut expected_m, &mut expected_v, with);
        }
        assert_close(&p, &expected_p, 1e-6);
        assert_close(&m, &expected_m, 1e-6);
        assert_close(&v, &expected_v, 1e-6);
    }

    #[test]
    fn exponentials_are_right_to_two_ulps(n in 1..100usize, seed in 0..1000u64) {
        let x = numbers(seed, n, 87.0);
        let mut y = x.clone();
        let sum = cpu::exp_in_place(&mut y, 0.0);
        for (x, y) in x.iter().zip(&y) {
            let expected = f64::from(*x).exp();
            prop_assert!((f64::from(*y) - expected).abs() <= 2.0 * f64::from(f32::EPSILON) * expected, "exp({}) is not {}", x, y);
        }
        let expected: f64 = wide(&y).iter().sum();
        prop_assert!((f64::from(sum) - expected).abs() <= 1e-6 * expected);
    }

    #[test]
    fn largest_entry_and_sum_of_squares(n in 0..100_000usize, seed in 0..1000u64) {
        let x = numbers(seed, n, 2.0);
        prop_assert_eq!(cpu::max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let expected: f64 = wide(&x).iter().map(|x| x * x).sum();
        prop_assert!((cpu::sum_of_squares(&x) - expected).abs() <= 1e-12 * expected);
    }
}

#[test]
fn adamw_and_sums_do_not_depend_on_threads_beyond_one_chunk() {
    let n = 50_000;
    let (start, gradient) = (numbers(1, n, 1.0), numbers(2, n, 1.0));
    reproducible(|| {
        let (mut p, mut m, mut v) = (start.clone(), vec![0.0; n], vec![0.0; n]);
        let with = cpu::AdamW { lr: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1, step: 1 };
        cpu::adamw(&mut p, &gradient, 1.0, &mut m, &mut v, with);
        let bits = cpu::sum_of_squares(&p).to_bits();
        [p, vec![f32::from_bits((bits >> 32) as u32), f32::from_bits(bits as u32)]]
    });
}
