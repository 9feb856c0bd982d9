//! Laying operands out for the inner loop: panels of the right factor, tiles of the left one.

use super::View;
use super::tile::{Left, Number, Tile};
use crate::cpu::prefetch::prefetch;

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Memory that grows to what it was asked for, and begins where a line does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scratch(Vec<Line>);

impl Scratch {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Room for `n` numbers, whatever they are now; what was never asked for before is zeros.
    pub(super) fn room<N: Number>(&mut self, n: usize) -> &mut [N] {
        let lines = (n * size_of::<N>()).div_ceil(size_of::<Line>());
        if self.0.len() < lines {
            self.0.resize(lines, Line([0.0; 16]));
        }
        &mut self.numbers_mut()[..n]
    }

    /// All that there is room for.
    #[allow(unsafe_code)]
    pub(super) fn numbers<N: Number>(&self) -> &[N] {
        // SAFETY: a line is as many numbers and nothing else, and any bits are a number.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.bytes() / size_of::<N>()) }
    }

    #[allow(unsafe_code)]
    fn numbers_mut<N: Number>(&mut self) -> &mut [N] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.bytes() / size_of::<N>()) }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.0[..])
    }
}

/// Columns `first..first + columns` of a matrix, filled up with zeros to the width of a panel, row after row.
pub(super) fn lay_out_panel(
    tile: &Tile,
    (right, view): (&[f32], View),
    (first, columns): (usize, usize),
    panel: &mut [f32],
) {
    let right = &right[view.offset + first * view.column_stride..];
    match tile.columns {
        32 => fill::<32>(right, view, columns, panel.as_chunks_mut().0),
        _ => fill::<16>(right, view, columns, panel.as_chunks_mut().0),
    }
}

fn fill<const WIDTH: usize>(right: &[f32], view: View, columns: usize, panel: &mut [[f32; WIDTH]]) {
    if columns == WIDTH && view.column_stride == 1 {
        for (row, to) in panel.iter_mut().enumerate() {
            *to = *right[row * view.row_stride..].first_chunk().expect("a row holds its columns");
        }
        return;
    }
    // Some rows of all columns at a time, so that what is read and what is written both stay in the cache.
    const ROWS: usize = 16;
    for (block, to) in panel.chunks_mut(ROWS).enumerate() {
        let right = &right[block * ROWS * view.row_stride..];
        for column in 0..columns {
            let from = &right[column * view.column_stride..];
            to.iter_mut().enumerate().for_each(|(row, to)| to[column] = from[row * view.row_stride]);
        }
        to.iter_mut().for_each(|to| to[columns..].fill(0.0));
    }
}

/// Numbers that rows take when they are laid out.
pub(super) fn size_of_rows(tile: &Tile, rows: usize, inner: usize) -> usize {
    rows.next_multiple_of(tile.rows) * apart(inner)
}

/// How far copied rows are apart: not a power of two, or all rows of a tile would compete for one place in the cache.
fn apart(inner: usize) -> usize {
    inner.next_multiple_of(16) + 16
}

/// Copies `rows` rows of `inner` columns in the order in which the matrix has them: rows, or the columns of each tile.
pub(super) fn lay_out_rows(tile: &Tile, (left, view): (&[f32], View), (rows, inner): (usize, usize), to: &mut [f32]) {
    let left = &left[view.offset..];
    if view.column_stride == 1 {
        for (row, to) in to.chunks_exact_mut(apart(inner)).take(rows).enumerate() {
            to[..inner].copy_from_slice(&left[row * view.row_stride..][..inner]);
        }
        return;
    }
    match tile.rows {
        12 => turn::<12>(left, view, (rows, inner), to.as_chunks_mut().0),
        _ => turn::<6>(left, view, (rows, inner), to.as_chunks_mut().0),
    }
}

/// Columns that are asked for before they are copied.
const AHEAD: usize = 16;

fn turn<const HEIGHT: usize>(left: &[f32], view: View, (rows, inner): (usize, usize), to: &mut [[f32; HEIGHT]]) {
    let whole = if view.row_stride == 1 { rows / HEIGHT } else { 0 };
    for column in 0..inner {
        if whole > 0 {
            prefetch(left, (column + AHEAD) * view.column_stride, rows);
        }
        let left = &left[column * view.column_stride..];
        for tile in 0..whole {
            to[tile * inner + column] = *left[tile * HEIGHT..].first_chunk().expect("a column holds its rows");
        }
        for row in whole * HEIGHT..rows {
            to[row / HEIGHT * inner + column][row % HEIGHT] = left[row * view.row_stride];
        }
    }
}

/// Where the tile of row `first` is in what [`lay_out_rows`] made.
pub(super) fn laid_out_tile(tile: &Tile, view: View, first: usize, inner: usize, rows: &[f32]) -> Left {
    if view.column_stride == 1 {
        Left { start: rows[first * apart(inner)..].as_ptr(), row: apart(inner), column: 1 }
    } else {
        Left { start: rows[first * inner..].as_ptr(), row: 1, column: tile.rows }
    }
}
