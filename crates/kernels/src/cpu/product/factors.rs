//! Cutting a product into tasks, blocks and tiles.

use std::cell::RefCell;
use std::ops::Range;

use super::View;
use super::layout::Scratch;
use super::right::{INNER, Right, blocks};
use super::tasks::{TASKS, for_each_chunk, share, tasks};
use super::tile::{Out, Tile};

/// Numbers of a right factor that are laid out at once: 16 MiB.
const LAID_OUT: usize = 1 << 22;
/// Rows of sums that a task adds up.
const ADDED: usize = 48;
/// What is summed over in a slice at least, where there are slices.
const SLICE: usize = 1024;
const SLICES: usize = 4;
/// Numbers of all slices' sums at most: 32 MiB.
const SUMS: usize = 1 << 23;

thread_local! {
    static RIGHT: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
    static PARTS: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

/// Two factors within their slices, what their product is multiplied by, and the tile it is made of.
#[derive(Clone, Copy)]
pub(super) struct Factors<'a> {
    pub(super) shape: (usize, usize, usize),
    pub(super) scale: f32,
    pub(super) a: (&'a [f32], View),
    pub(super) b: (&'a [f32], View),
    pub(super) tile: Tile,
}

impl Factors<'_> {
    /// Writes the product to rows of `c`, or adds it to what is there.
    ///
    /// # Panics
    /// If a matrix leaves its slice.
    #[allow(unsafe_code)]
    pub(super) fn multiply_into(&self, (c, vc): (&mut [f32], View), accumulate: bool, threads: usize) {
        let ((m, n, k), (a, va), (b, vb)) = (self.shape, self.a, self.b);
        if m == 0 || n == 0 || k == 0 {
            return;
        }
        let fit = va.end(m, k) <= a.len() && vb.end(k, n) <= b.len() && vc.end(m, n) <= c.len();
        assert!(fit, "matrix leaves its slice");
        assert!(vc.column_stride == 1 && (m == 1 || vc.row_stride >= n), "a product is written to rows");
        let tasks = tasks(self.shape, threads);
        let c = &mut c[vc.offset..][..(m - 1) * vc.row_stride + n];
        let slices = (k / SLICE).min(SLICES).min(SUMS / (m * n));
        if va.column_stride != 1 && slices > 1 {
            self.multiply_slices(slices, (c, vc.row_stride), accumulate, tasks);
        } else {
            // SAFETY: asserted above, and `c` is borrowed mutably.
            unsafe { self.multiply(Out { start: c.as_mut_ptr(), row: vc.row_stride, add: accumulate }, tasks) };
        }
    }

    /// The same over a part of what is summed over.
    fn inner(&self, part: Range<usize>) -> Self {
        let ((m, n, _), (a, va), (b, vb)) = (self.shape, self.a, self.b);
        Self { shape: (m, n, part.len()), a: (a, va.from(0, part.start)), b: (b, vb.from(part.start, 0)), ..*self }
    }

    /// The same for some of the columns.
    fn columns(&self, part: Range<usize>) -> Self {
        let ((m, _, k), (b, vb)) = (self.shape, self.b);
        Self { shape: (m, part.len(), k), b: (b, vb.from(0, part.start)), ..*self }
    }

    /// The product where few rows and columns meet in a long sum: slices of it are summed apart, block after block, and then added up.
    #[allow(unsafe_code)]
    fn multiply_slices(&self, slices: usize, (c, apart): (&mut [f32], usize), accumulate: bool, tasks: usize) {
        let (m, n, k) = self.shape;
        // More threads than slices share them.
        let within = if tasks > TASKS * slices { tasks / slices } else { 1 };
        let mut scratch = PARTS.take();
        let parts = scratch.room(slices * m * n);
        for_each_chunk(tasks > 1, parts, m * n, |slice, part| {
            let slice = slice * k / slices..(slice + 1) * k / slices;
            let mut out = Out { start: part.as_mut_ptr(), row: n, add: false };
            for block in blocks(slice, INNER) {
                // SAFETY: the factors were found to fit, and a part is as large as the product.
                unsafe { self.inner(block).multiply(out, within) };
                out.add = true;
            }
        });
        for_each_chunk(tasks > 1, c, apart * ADDED, |first, c| {
            for (row, c) in c.chunks_mut(apart).enumerate() {
                let at = (first * ADDED + row) * n;
                for (slice, part) in parts.chunks_exact(m * n).enumerate() {
                    let sums = c.iter_mut().zip(&part[at..at + n]);
                    if slice == 0 && !accumulate {
                        sums.for_each(|(c, part)| *c = *part);
                    } else {
                        sums.for_each(|(c, part)| *c += part);
                    }
                }
            }
        });
        PARTS.set(scratch);
    }

    /// The product, as many columns at a time as may be laid out.
    ///
    /// # Safety
    /// The factors fit their slices, and all of `out` may be written by nobody else.
    #[allow(unsafe_code)]
    unsafe fn multiply(&self, out: Out, tasks: usize) {
        let ((_, n, k), width) = (self.shape, self.tile.columns);
        let most = (LAID_OUT / k / width).max(1) * width;
        for first in (0..n).step_by(most) {
            // SAFETY: the caller's.
            unsafe { self.columns(first..n.min(first + most)).multiply_columns(out.right(first), tasks) };
        }
    }

    /// # Safety
    /// As of [`multiply`](Self::multiply).
    #[allow(unsafe_code)]
    unsafe fn multiply_columns(&self, out: Out, tasks: usize) {
        let ((m, n, k), (a, va)) = (self.shape, self.a);
        let mut scratch = RIGHT.take();
        let right = Right::lay_out_by(self.tile, self.b, (k, n), &mut scratch, tasks > 1);
        share((m, n), self.tile, out, tasks, |row, rows, columns, out| {
            // SAFETY: the caller's, and tasks differ in what they write.
            unsafe { right.multiply_rows(rows, 0..k, columns, self.scale, (a, va.from(row, 0)), out) };
        });
        RIGHT.set(scratch);
    }
}
