//! A right factor laid out in panels, for one product or several.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::View;
use super::layout::{Scratch, laid_out_tile, lay_out_panel, lay_out_rows, size_of_rows};
use super::tile::{Left, Out, Tile};

/// What is summed at once: with as many rows of a panel and of a tile in the innermost cache.
pub(super) const INNER: usize = 352;
/// Columns up to which rows are multiplied where they lie.
const NARROW: usize = 128;

thread_local! {
    static LEFT: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

/// A matrix `[inner, columns]` in panels.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a> {
    panels: &'a [f32],
    inner: usize,
    columns: usize,
    tile: Tile,
}

impl<'a> Right<'a> {
    /// Lays out `b`, of `shape` `(inner, columns)`, in `room`.
    ///
    /// # Panics
    /// If it leaves its slice.
    pub(crate) fn lay_out(b: (&[f32], View), shape: (usize, usize), room: &'a mut Scratch) -> Self {
        assert!(b.1.end(shape.0, shape.1) <= b.0.len(), "matrix leaves its slice");
        Self::lay_out_by(Tile::chosen(), b, shape, room, false)
    }

    pub(super) fn lay_out_by(
        tile: Tile,
        b: (&[f32], View),
        (inner, columns): (usize, usize),
        room: &'a mut Scratch,
        parallel: bool,
    ) -> Self {
        let width = tile.columns;
        let panels = room.room(columns.next_multiple_of(width) * inner);
        for_each_chunk(parallel, panels, width * inner, |panel, to| {
            lay_out_panel(&tile, b, (panel * width, width.min(columns - panel * width)), to);
        });
        Self { panels, inner, columns, tile }
    }

    /// `c[rows, columns] (+)= scale * a[rows, inner] b[inner, columns]`, of which `inner` and `columns` are a part of what was laid out;
    /// `columns` begin with a panel.
    ///
    /// # Panics
    /// If a matrix leaves its slice, or there is nothing to sum.
    #[allow(unsafe_code)]
    pub(crate) fn multiply(
        &self,
        (rows, inner, columns): (usize, Range<usize>, Range<usize>),
        scale: f32,
        (a, va): (&[f32], View),
        (c, vc): (&mut [f32], View),
        add: bool,
    ) {
        if rows == 0 || columns.is_empty() {
            return;
        }
        let fit = va.end(rows, inner.len()) <= a.len() && vc.end(rows, columns.len()) <= c.len();
        assert!(fit && inner.end <= self.inner && columns.end <= self.columns, "matrix leaves its slice");
        let apart = vc.column_stride == 1 && (rows == 1 || vc.row_stride >= columns.len());
        assert!(apart && columns.start.is_multiple_of(self.tile.columns), "a product is written to rows of panels");
        let out = Out { start: c[vc.offset..].as_mut_ptr(), row: vc.row_stride, add };
        // SAFETY: asserted above, and `c` is borrowed mutably.
        unsafe { self.multiply_rows(rows, inner, columns, scale, (a, va), out) };
    }

    /// # Safety
    /// `a` holds the rows, nobody else writes to these rows and columns of `out`, all of which may be written, and `columns` begin with a
    /// panel.
    #[allow(unsafe_code)]
    pub(super) unsafe fn multiply_rows(
        &self,
        rows: usize,
        inner: Range<usize>,
        columns: Range<usize>,
        scale: f32,
        (a, va): (&[f32], View),
        out: Out,
    ) {
        let tile = &self.tile;
        LEFT.with_borrow_mut(|scratch| {
            for block in blocks(inner.clone(), INNER) {
                let (view, add) = (va.from(0, block.start - inner.start), out.add || block.start > inner.start);
                let lie = columns.len() <= NARROW;
                let copy = scratch.room(if lie { 0 } else { size_of_rows(tile, rows, block.len()) });
                if !lie {
                    lay_out_rows(tile, (a, view), (rows, block.len()), copy);
                }
                for first in columns.clone().step_by(tile.columns) {
                    let panel = &self.panels[first * self.inner + block.start * tile.columns..];
                    let panel = panel[..block.len() * tile.columns].as_ptr();
                    for row in (0..rows).step_by(tile.rows) {
                        let left = if lie {
                            Left::of(a, view, row)
                        } else {
                            laid_out_tile(tile, view, row, block.len(), copy)
                        };
                        let shape = (tile.rows.min(rows - row), tile.columns.min(columns.end - first), block.len());
                        let start = out.start.wrapping_add(row * out.row + first - columns.start);
                        // SAFETY: the factors hold these rows and columns, and the caller lets these be written.
                        unsafe { tile.multiply(shape, left, panel, scale, Out { start, add, ..out }) };
                    }
                }
            }
        });
    }
}

/// `range` in as few equal parts as hold no more than `most` each.
pub(super) fn blocks(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let step = range.len().div_ceil(range.len().div_ceil(most));
    range.clone().step_by(step).map(move |start| start..range.end.min(start + step))
}

pub(super) fn for_each_chunk(
    parallel: bool,
    values: &mut [f32],
    size: usize,
    f: impl Fn(usize, &mut [f32]) + Sync + Send,
) {
    if parallel {
        values.par_chunks_mut(size).enumerate().for_each(|(i, chunk)| f(i, chunk));
    } else {
        values.chunks_mut(size).enumerate().for_each(|(i, chunk)| f(i, chunk));
    }
}
