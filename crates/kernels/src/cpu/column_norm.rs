//! Norms of parts of a row: queries and keys, which stand beside values.

use rayon::prelude::*;

use super::norm::{PARTIAL_SUMS, ROWS, backward_rows, forward_rows};

/// Columns of a row that are normed: `groups` times as many as there are weights, one group after the other.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// The first column.
    pub start: usize,
    /// How many groups are normed, each by itself.
    pub groups: usize,
    /// Weights of a group.
    pub weights: &'a [f32],
}

impl Span<'_> {
    fn len(&self) -> usize {
        self.groups * self.weights.len()
    }
}

/// `y[rows, width]` from `x[rows, width]`: [`rms_norm`](super::rms_norm) of every group of `spans`, which are in order, and the rest as it is.
///
/// # Panics
/// If a span leaves the row or overlaps the one before.
pub fn norm_columns(x: &[f32], width: usize, spans: &[Span<'_>], eps: f32, y: &mut [f32]) {
    assert!(x.len() == y.len() && x.len().is_multiple_of(width), "norm_columns shapes");
    y.par_chunks_mut(width * ROWS).zip(x.par_chunks(width * ROWS)).for_each(|(y, x)| {
        let mut rstd = vec![0.0; width];
        for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            y.copy_from_slice(x);
            for span in spans {
                let columns = span.start..span.start + span.len();
                forward_rows(&x[columns.clone()], span.weights, eps, &mut y[columns], &mut rstd[..span.groups]);
            }
        }
    });
}

/// `dx[rows, width]` from `dy`, and adds to `d_weights`, one for each of `spans`, what the weights receive.
///
/// # Panics
/// As [`norm_columns`].
pub fn norm_columns_backward(
    dy: &[f32],
    x: &[f32],
    width: usize,
    spans: &[Span<'_>],
    eps: f32,
    dx: &mut [f32],
    d_weights: &mut [&mut [f32]],
) {
    assert!(dy.len() == x.len() && dx.len() == x.len() && spans.len() == d_weights.len(), "norm_columns shapes");
    let sizes: Vec<usize> = spans.iter().map(|span| span.weights.len()).collect();
    let per_task = (x.len() / width).div_ceil(PARTIAL_SUMS).max(ROWS) * width;
    let tasks = dx.par_chunks_mut(per_task).zip(dy.par_chunks(per_task)).zip(x.par_chunks(per_task));
    let sums: Vec<Vec<Vec<f32>>> = tasks
        .map(|((dx, dy), x)| {
            let mut sums: Vec<Vec<f32>> = sizes.iter().map(|size| vec![0.0; *size]).collect();
            let rows = dx.chunks_exact_mut(width).zip(dy.chunks_exact(width)).zip(x.chunks_exact(width));
            rows.for_each(|((dx, dy), x)| backward_row(dy, x, spans, eps, dx, &mut sums));
            sums
        })
        .collect();
    for part in sums {
        for (to, from) in d_weights.iter_mut().zip(part) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        }
    }
}

fn backward_row(dy: &[f32], x: &[f32], spans: &[Span<'_>], eps: f32, dx: &mut [f32], sums: &mut [Vec<f32>]) {
    dx.copy_from_slice(dy);
    for (span, sums) in spans.iter().zip(sums) {
        let columns = span.start..span.start + span.len();
        let (dy, x, dx) = (&dy[columns.clone()], &x[columns.clone()], &mut dx[columns]);
        let mean_square = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
        let rstd: Vec<f32> = x.chunks_exact(span.weights.len()).map(|x| 1.0 / (mean_square(x) + eps).sqrt()).collect();
        dx.fill(0.0);
        backward_rows(dy, x, span.weights, &rstd, dx, sums);
    }
}
