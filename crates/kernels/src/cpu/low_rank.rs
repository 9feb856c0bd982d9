//! Low-rank adapters (Hu et al., arXiv:2106.09685): `y += scale (x a^T) b^T`, on some columns of `y`.

use std::ops::Range;

use super::linear::threads;
use super::product::{View, product};

/// An adapter of a projection from `inputs` to `width` numbers, of which it changes those in `columns`.
#[derive(Debug, Clone)]
pub struct LowRank<'a> {
    /// `[rank, inputs]`.
    pub a: &'a [f32],
    /// `[columns, rank]`.
    pub b: &'a [f32],
    /// What the product is multiplied by.
    pub scale: f32,
    /// Numbers of an input.
    pub inputs: usize,
    /// Numbers of an output.
    pub width: usize,
    /// Those that are changed.
    pub columns: Range<usize>,
}

impl LowRank<'_> {
    fn rank(&self) -> usize {
        self.a.len() / self.inputs
    }

    /// How many numbers a row of `x a^T` has.
    fn check(&self, x: &[f32], y: &[f32], low: &[f32]) -> usize {
        let rows = x.len() / self.inputs;
        let fits = x.len() == rows * self.inputs && y.len() == rows * self.width && low.len() == rows * self.rank();
        let factors = self.a.len() == self.rank() * self.inputs && self.b.len() == self.columns.len() * self.rank();
        assert!(fits && factors && self.columns.end <= self.width, "low_rank shapes");
        rows
    }
}

/// Adds the adapter's share to `y[rows, width]`; `low[rows, rank]` receives `x a^T`.
///
/// # Panics
/// If shapes do not match.
pub fn low_rank(x: &[f32], adapter: &LowRank<'_>, y: &mut [f32], low: &mut [f32]) {
    let (rows, rank) = (adapter.check(x, y, low), adapter.rank());
    let (k, columns) = (adapter.inputs, adapter.columns.len());
    product(
        (rows, rank, k),
        1.0,
        (x, View::rows(k)),
        (adapter.a, View::columns(k)),
        (low, View::rows(rank)),
        false,
        threads(),
    );
    let to = View::rows(adapter.width).at(adapter.columns.start);
    let b = (adapter.b, View::columns(rank));
    product((rows, columns, rank), adapter.scale, (low, View::rows(rank)), b, (y, to), true, threads());
}

/// Adds to `dx[rows, inputs]`, `da` and `db` what comes from `dy[rows, width]`, with what [`low_rank`] left in `low`. `through[rows, rank]`
/// is overwritten.
///
/// # Panics
/// If shapes do not match.
pub fn low_rank_backward(
    (dy, x, low): (&[f32], &[f32], &[f32]),
    adapter: &LowRank<'_>,
    through: &mut [f32],
    dx: &mut [f32],
    (da, db): (&mut [f32], &mut [f32]),
) {
    let (rows, rank) = (adapter.check(x, dy, low), adapter.rank());
    assert!(
        da.len() == adapter.a.len() && db.len() == adapter.b.len() && through.len() == low.len(),
        "low_rank shapes"
    );
    let (k, columns, scale) = (adapter.inputs, adapter.columns.len(), adapter.scale);
    let from = View::rows(adapter.width).at(adapter.columns.start);
    let turned = View { row_stride: from.column_stride, column_stride: from.row_stride, ..from };
    let thin = View::rows(rank);
    product((columns, rank, rows), scale, (dy, turned), (low, thin), (db, thin), true, threads());
    product((rows, rank, columns), scale, (dy, from), (adapter.b, thin), (through, thin), false, threads());
    let flat = View::rows(k);
    product((rank, k, rows), 1.0, (through, View::columns(rank)), (x, flat), (da, flat), true, threads());
    product((rows, k, rank), 1.0, (through, thin), (adapter.a, flat), (dx, flat), true, threads());
}
