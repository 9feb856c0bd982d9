//! Matrix products.

use proptest::prelude::*;
use stateset_kernels::{cpu, reference};

use crate::{assert_close, numbers, reproducible, same_bits, wide};

/// Inputs are below 1, so an entry is below `k`; its rounding error stays well below `k` half-ulps.
const TOLERANCE: f64 = 1e-5;

/// Small odd shapes, and now and then one that is large enough for the product to be split over threads.
fn shapes() -> impl Strategy<Value = (usize, usize, usize)> {
    prop_oneof![9 => (1..40usize, 1..70usize, 1..40usize), 1 => (65..140usize, 90..130usize, 97..140usize)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn linear_and_its_gradients((m, k, n) in shapes(), seed in 0..1000u64) {
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

    #[test]
    fn products_that_accumulate_and_the_transposed_layout((m, k, n) in shapes(), seed in 0..1000u64) {
        let (x, w, y) = (numbers(seed, m * k, 1.0), numbers(seed + 1, n * k, 1.0), numbers(seed + 2, m * n, 1.0));
        let (dy, dw) = (numbers(seed + 3, m * n, 1.0), numbers(seed + 4, n * k, 1.0));
        let [added, product, transposed_added, weight_added] = reproducible(|| {
            let (mut added, mut product, mut transposed_added) = (y.clone(), vec![f32::NAN; m * n], y.clone());
            let mut weight_added = dw.clone();
            cpu::linear_weight_gradient_add(&dy, &x, &mut weight_added, (m, k, n));
            let wt = cpu::transpose(&w, (n, k));
            cpu::linear_add(&x, &w, &mut added, (m, k, n));
            cpu::matmul_add(&x, &wt, &mut product, (m, k, n), false);
            cpu::matmul_add(&x, &wt, &mut transposed_added, (m, k, n), true);
            [added, product, transposed_added, weight_added]
        });
        let expected_weight = reference::linear_weight_gradient(&wide(&dy), &wide(&x), (m, k, n));
        let expected_weight: Vec<f64> = expected_weight.iter().zip(&dw).map(|(p, dw)| p + f64::from(*dw)).collect();
        assert_close(&weight_added, &expected_weight, TOLERANCE);
        let expected = reference::linear(&wide(&x), &wide(&w), (m, k, n));
        let expected_sum: Vec<f64> = expected.iter().zip(&y).map(|(p, y)| p + f64::from(*y)).collect();
        assert_close(&product, &expected, TOLERANCE);
        assert_close(&added, &expected_sum, TOLERANCE);
        assert_close(&transposed_added, &expected_sum, TOLERANCE);
    }

    #[test]
    fn a_decoded_row_does_not_depend_on_its_batch(
        rows in 3..40usize, k in 1..70usize, n in 1..70usize, width in 2..40usize, seed in 0..1000u64,
    ) {
        // From width 2 on: a single row takes another path, and generation pads it.
        let width = width.min(rows);
        let (x, wt) = (numbers(seed, rows * k, 1.0), numbers(seed + 1, k * n, 1.0));
        let product = |x: &[f32], m| {
            let mut y = vec![0.0; m * n];
            cpu::matmul_add(x, &wt, &mut y, (m, k, n), false);
            y
        };
        prop_assert!(same_bits(&product(&x[..width * k], width), &product(&x, rows)[..width * n]));
    }

    #[test]
    fn transposing_moves_every_entry(rows in 0..40usize, columns in 1..40usize) {
        let x = numbers(1, rows * columns, 1.0);
        let y = cpu::transpose(&x, (rows, columns));
        prop_assert!((0..x.len()).all(|i| y[i % columns * rows + i / columns] == x[i]));
    }
}

#[test]
fn a_decoded_row_does_not_depend_on_its_batch_when_products_are_split() {
    for (k, n) in [(128, 1536), (344, 128), (1100, 257)] {
        let (x, wt) = (numbers(1, 300 * k, 1.0), numbers(2, k * n, 1.0));
        let product = |m: usize| {
            let [y] = reproducible(|| {
                let mut y = vec![0.0; m * n];
                cpu::matmul_add(&x[..m * k], &wt, &mut y, (m, k, n), false);
                [y]
            });
            y
        };
        let all = product(300);
        for rows in [1, 2, 7, 63, 64, 65, 200] {
            assert!(same_bits(&product(rows), &all[..rows * n]), "{rows} rows of {k} by {n}");
        }
    }
}
