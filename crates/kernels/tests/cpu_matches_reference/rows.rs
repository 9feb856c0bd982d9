//! Kernels that go row by row or entry by entry: norm, gate, optimizer, exponentials and sums.

use proptest::prelude::*;
use stateset_kernels::{cpu, reference};

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
        rows in 0..30usize, n in 1..100usize, scale in prop_oneof![Just(3.0f32), Just(200.0)], seed in 0..1000u64,
    ) {
        let (gate_up, dy) = (numbers(seed, rows * 2 * n, scale), numbers(seed + 1, rows * n, 1.0));
        let [y, d] = reproducible(|| {
            let (mut y, mut d) = (vec![f32::NAN; rows * n], vec![f32::NAN; rows * 2 * n]);
            cpu::gate(&gate_up, &mut y, n);
            cpu::gate_backward(&dy, &gate_up, &mut d, n);
            [y, d]
        });
        let (gate_up, dy) = (wide(&gate_up), wide(&dy));
        assert_close(&y, &reference::gate(&gate_up, n), 1e-6);
        assert_close(&d, &reference::gate_backward(&dy, &gate_up, n), 1e-6);
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
