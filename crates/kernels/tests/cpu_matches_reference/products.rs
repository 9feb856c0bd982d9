//! Matrix products.

use proptest::prelude::*;
use stateset_kernels::cpu::Panels;
use stateset_kernels::{cpu, reference};

use crate::{assert_close, numbers, reproducible, same_bits, wide};

/// Inputs are below 1, so an entry is below `k`; its rounding error stays well below `k` half-ulps.
const TOLERANCE: f64 = 1e-5;

/// Small odd shapes, and now and then one that is large enough for the product to be split over threads, or long enough for its sums to be.
fn shapes() -> impl Strategy<Value = (usize, usize, usize)> {
    prop_oneof![
        9 => (1..40usize, 1..70usize, 1..40usize),
        1 => (65..140usize, 90..130usize, 97..140usize),
        1 => (1..20usize, 340..1100usize, 1..40usize),
        1 => (2040..4200usize, 1..20usize, 1..40usize),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn linear_and_its_gradients(shape in shapes(), seed in 0..1000u64) {
        assert_linear_and_gradients(shape, seed);
    }

    #[test]
    fn products_that_accumulate((m, k, n) in shapes(), seed in 0..1000u64) {
        let (x, w, y) = (numbers(seed, m * k, 1.0), numbers(seed + 1, n * k, 1.0), numbers(seed + 2, m * n, 1.0));
        let (dy, dw) = (numbers(seed + 3, m * n, 1.0), numbers(seed + 4, n * k, 1.0));
        let [added, product, panels_added, weight_added] = reproducible(|| {
            let (mut added, mut product, mut panels_added) = (y.clone(), vec![f32::NAN; m * n], y.clone());
            let (panels, mut weight_added) = (Panels::new(&[&w], k), dw.clone());
            cpu::linear_add(&x, &w, &mut added, (m, k, n));
            cpu::multiply(&x, &panels, &mut product, false);
            cpu::multiply(&x, &panels, &mut panels_added, true);
            cpu::linear_weight_gradient_add(&dy, &x, &mut weight_added, (m, k, n));
            [added, product, panels_added, weight_added]
        });
        let expected_weight = reference::linear_weight_gradient(&wide(&dy), &wide(&x), (m, k, n));
        let expected_weight: Vec<f64> = expected_weight.iter().zip(&dw).map(|(p, dw)| p + f64::from(*dw)).collect();
        assert_close(&weight_added, &expected_weight, TOLERANCE);
        let expected = reference::linear(&wide(&x), &wide(&w), (m, k, n));
        let expected_sum: Vec<f64> = expected.iter().zip(&y).map(|(p, y)| p + f64::from(*y)).collect();
        assert_close(&product, &expected, TOLERANCE);
        assert_close(&added, &expected_sum, TOLERANCE);
        assert_close(&panels_added, &expected_sum, TOLERANCE);
    }

    #[test]
    fn a_row_times_panels_does_not_depend_on_its_batch(
        rows in 1..40usize, from in 0..40usize, width in 1..40usize, k in 1..70usize, n in 1..70usize, seed in 0..1000u64,
    ) {
        let (from, x) = (from % rows, numbers(seed, rows * k, 1.0));
        let width = width.min(rows - from);
        let panels = Panels::new(&[&numbers(seed + 1, k * n, 1.0)], k);
        let some = product(&x[from * k..][..width * k], &panels);
        prop_assert!(same_bits(&some, &product(&x, &panels)[from * n..][..width * n]));
    }

    #[test]
    fn parts_are_laid_out_as_if_stacked(first in 0..40usize, second in 1..40usize, k in 1..40usize) {
        let (x, w) = (numbers(1, 3 * k, 1.0), numbers(2, (first + second) * k, 1.0));
        let (a, b) = w.split_at(first * k);
        prop_assert!(same_bits(&product(&x, &Panels::new(&[a, b], k)), &product(&x, &Panels::new(&[&w], k))));
    }
}

#[track_caller]
fn assert_linear_and_gradients((m, k, n): (usize, usize, usize), seed: u64) {
    let (x, w, dy) = (numbers(seed, m * k, 1.0), numbers(seed + 1, n * k, 1.0), numbers(seed + 2, m * n, 1.0));
    // Stale contents must not show through.
    let [y, dx, dw] = reproducible(|| {
        let (mut y, mut dx, mut dw) = (vec![f32::NAN; m * n], vec![f32::NAN; m * k], vec![f32::NAN; n * k]);
        cpu::linear(&x, &w, &mut y, (m, k, n));
        cpu::linear_input_gradient(&dy, &w, &mut dx, (m, k, n));
        cpu::linear_weight_gradient(&dy, &x, &mut dw, (m, k, n));
        [y, dx, dw]
    });
    let (x, w, dy) = (wide(&x), wide(&w), wide(&dy));
    assert_close(&y, &reference::linear(&x, &w, (m, k, n)), TOLERANCE);
    assert_close(&dx, &reference::linear_input_gradient(&dy, &w, (m, k, n)), TOLERANCE);
    assert_close(&dw, &reference::linear_weight_gradient(&dy, &x, (m, k, n)), TOLERANCE);
}

fn product(x: &[f32], panels: &Panels) -> Vec<f32> {
    let [y] = reproducible(|| {
        let mut y = vec![f32::NAN; x.len() / panels.inputs() * panels.outputs()];
        cpu::multiply(x, panels, &mut y, false);
        [y]
    });
    y
}

#[test]
fn a_row_times_panels_does_not_depend_on_its_batch_when_products_are_split() {
    for (k, n) in [(256, 1376), (344, 128), (1100, 257)] {
        let x = numbers(1, 300 * k, 1.0);
        let panels = Panels::new(&[&numbers(2, k * n, 1.0)], k);
        let all = product(&x, &panels);
        for rows in [1, 2, 3, 7, 63, 64, 65, 97, 200] {
            assert!(same_bits(&product(&x[..rows * k], &panels), &all[..rows * n]), "{rows} rows of {k} by {n}");
        }
    }
}

#[test]
fn rows_and_columns_that_fill_no_tile_and_no_panel_are_multiplied_like_the_others() {
    // Left factors that are copied, in rows and in columns, and ones that are not; sums of one block and of several.
    for shape in [(197, 360, 150), (13, 700, 145), (97, 3, 131), (1, 353, 129), (390, 40, 17)] {
        assert_linear_and_gradients(shape, 1);
    }
}

#[test]
fn a_row_of_a_linear_layer_does_not_depend_on_its_batch() {
    let (k, n) = (1100, 257);
    let (x, w) = (numbers(1, 300 * k, 1.0), numbers(2, k * n, 1.0));
    let linear = |rows: usize| {
        let [y] = reproducible(|| {
            let mut y = vec![f32::NAN; rows * n];
            cpu::linear(&x[..rows * k], &w, &mut y, (rows, k, n));
            [y]
        });
        y
    };
    let all = linear(300);
    for rows in [1, 2, 7, 63, 193] {
        assert!(same_bits(&linear(rows), &all[..rows * n]), "{rows} rows");
    }
}
