//! Biases: one number for every column.

use rayon::prelude::*;

/// Rows and columns of a task; fixed, so that sums do not depend on the number of threads.
const ROWS: usize = 64;
const COLUMNS: usize = 256;

/// `y[rows, n] += bias[n]`.
pub fn add_bias(y: &mut [f32], bias: &[f32]) {
    let n = bias.len();
    assert!(y.len().is_multiple_of(n), "add_bias shapes");
    y.par_chunks_mut(n * ROWS).for_each(|rows| {
        for row in rows.chunks_exact_mut(n) {
            row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        }
    });
}

/// `d_bias[n] += sum_rows dy[rows, n]`.
pub fn bias_backward(dy: &[f32], d_bias: &mut [f32]) {
    let n = d_bias.len();
    assert!(dy.len().is_multiple_of(n), "bias_backward shapes");
    d_bias.par_chunks_mut(COLUMNS).enumerate().for_each(|(task, sums)| {
        for row in dy.chunks_exact(n) {
            sums.iter_mut().zip(&row[task * COLUMNS..]).for_each(|(sum, dy)| *sum += dy);
        }
    });
}
