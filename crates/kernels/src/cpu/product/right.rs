//! A right factor laid out in panels, for one product or several.

use std::cell::RefCell;
use std::ops::Range;

use super::View;
use super::layout::{Scratch, laid_out_tile, lay_out_panel, lay_out_rows, size_of_rows};
use super::tasks::for_each_chunk;
use super::tile::{Left, Number, Out, Tile};

/// What is summed at once: with as many rows of a panel and of a tile in the innermost cache.
pub(super) const INNER: usize = 352;
/// Columns up to which rows are multiplied where they lie.
const NARROW: usize = 128;

thread_local! {
    static LEFT: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

/// A matrix `[inner, columns]` in panels.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a, N = f32> {
    panels: &'a [N],
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
}

impl<'a, N: Number> Right<'a, N> {
    /// What was laid out in `panels` as [`Right::lay_out`] would have, by `tile`.
    pub(super) fn of(tile: Tile, panels: &'a [N], (inner, columns): (usize, usize)) -> Self {
        assert!(panels.len() >= columns.next_multiple_of(tile.columns) * inner, "panels are missing");
        Self { panels, inner, columns, tile }
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
        let part = |block: &Range<usize>| {
            let add = out.add || block.start > inner.start;
            (va.from(0, block.start - inner.start), Out { add, ..out })
        };
        // What is laid out by columns lies in whole tiles.
        let fewest = if va.column_stride == 1 { tile.rows / 2 } else { 1 };
        let cut = || blocks(inner.clone(), INNER);
        let panels = || columns.clone().step_by(tile.columns).map(|first| first..columns.end.min(first + tile.columns));
        if columns.len() <= NARROW || rows <= tile.rows {
            for (panel, block) in panels().flat_map(|panel| cut().map(move |block| (panel.clone(), block))) {
                let (view, out) = part(&block);
                let left = |row| Left::of(a, view, row);
                let out = out.right(panel.start - columns.start);
                // SAFETY: the caller's.
                unsafe { self.multiply_panel((rows, fewest), &block, &panel, scale, left, out) };
            }
            return;
        }
        LEFT.with_borrow_mut(|scratch| {
            for block in cut() {
                let (view, out) = part(&block);
                let copy = scratch.room(size_of_rows(tile, rows, block.len()));
                lay_out_rows(tile, (a, view), (rows, block.len()), copy);
                for panel in panels() {
                    let left = |row| laid_out_tile(tile, view, row, block.len(), copy);
                    let out = out.right(panel.start - columns.start);
                    // SAFETY: the caller's.
                    unsafe { self.multiply_panel((rows, fewest), &block, &panel, scale, left, out) };
                }
            }
        });
    }

    /// Rows, at least `fewest` to a tile, times a block of a panel.
    ///
    /// # Safety
    /// As of [`multiply_rows`](Self::multiply_rows).
    #[allow(unsafe_code)]
    unsafe fn multiply_panel(
        &self,
        (rows, fewest): (usize, usize),
        block: &Range<usize>,
        columns: &Range<usize>,
        scale: f32,
        left: impl Fn(usize) -> Left,
        out: Out,
    ) {
        let tile = &self.tile;
        let panel = &self.panels[columns.start * self.inner + block.start * tile.columns..];
        let panel = panel[..block.len() * tile.columns].as_ptr();
        for row in heights(rows, tile.rows, fewest) {
            let shape = (row.len(), columns.len(), block.len());
            // SAFETY: the factors hold these rows and columns, and the caller lets these be written.
            unsafe { tile.multiply(shape, left(row.start), panel, scale, out.down(row.start)) };
        }
    }
}

/// `range` in as few equal parts as hold no more than `most` each.
pub(super) fn blocks(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let step = range.len().div_ceil(range.len().div_ceil(most));
    range.clone().step_by(step).map(move |start| start..range.end.min(start + step))
}

/// One row or more in parts of `most`. If the last would have fewer than `fewest`, it shares with the one before: a tile of one row takes
/// nearly as long as one of three.
fn heights(rows: usize, most: usize, fewest: usize) -> impl Iterator<Item = Range<usize>> {
    let count = rows.div_ceil(most);
    let last = match rows - (count - 1) * most {
        few if few < fewest && count > 1 => (most + few) / 2,
        rest => rest,
    };
    let start = move |i: usize| if i < count { (i * most).min(rows - last) } else { rows };
    (0..count).map(move |i| start(i)..start(i + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_tiles_of_which_none_has_few() {
        let cut = |rows| heights(rows, 6, 3).map(|part| part.len()).collect::<Vec<_>>();
        assert_eq!(cut(2), [2]);
        assert_eq!(cut(6), [6]);
        assert_eq!(cut(7), [4, 3]);
        assert_eq!(cut(20), [6, 6, 4, 4]);
        assert_eq!(cut(64), [6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 4]);
        assert_eq!(heights(13, 6, 1).collect::<Vec<_>>(), [0..6, 6..12, 12..13]);
    }
}
