//! Products with weights that serve many steps.
//!
//! A weight changes once per version and is read in hundreds of steps, so it is laid out once. Few rows take as long as reading takes:
//! weights that bf16 holds exactly are laid out in half the bytes.

use std::cell::RefCell;
use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::View;
use super::layout::Scratch;
use super::right::Right;
use super::tasks::{share, tasks};
use super::tile::{Number, Out, Tile};
use crate::cpu::numbers::{Numbers, narrow, widen};

/// Rows for which weights are widened beforehand: with fewer, it is cheaper to widen them again for every few rows.
const MANY: usize = 16;
/// Columns of all weights that are read at a time when they are laid out.
const BLOCK: usize = 16;

thread_local! {
    static WIDE: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

/// A weight `[outputs, inputs]` laid out for products; its last panel is filled up with zeros.
#[derive(Debug, Clone)]
pub struct Panels {
    outputs: usize,
    inputs: usize,
    tile: Tile,
    lines: Scratch,
    halves: bool,
}

impl Panels {
    /// Lays out the rows of `parts`, matrices of `inputs` columns that are stacked on one another.
    ///
    /// # Panics
    /// If a part does not hold whole rows, or rows are empty.
    #[must_use]
    pub fn new<'a>(parts: &[impl Into<Numbers<'a>> + Copy], inputs: usize) -> Self {
        let parts: Vec<Numbers<'_>> = parts.iter().map(|part| (*part).into()).collect();
        assert!(parts.iter().all(|part| part.len().is_multiple_of(inputs)), "a part has no whole rows of {inputs}");
        let row = |part: Numbers<'a>, at: usize| part.part(at * inputs..(at + 1) * inputs);
        let rows: Vec<Numbers<'_>> =
            parts.iter().flat_map(|part| (0..part.len() / inputs).map(move |at| row(*part, at))).collect();
        let (tile, halves) = (Tile::chosen(), parts.iter().all(|part| part.are_bf16()));
        let lines = if halves {
            laid_out(&rows, (inputs, tile.columns), narrow)
        } else {
            laid_out(&rows, (inputs, tile.columns), |x| x)
        };
        Self { outputs: rows.len(), inputs, tile, lines, halves }
    }

    /// Columns of a product with it.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns of what it is multiplied with.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lines.bytes()
    }

    fn right<N: Number>(&self) -> Right<'_, N> {
        Right::of(self.tile, self.lines.numbers(), (self.inputs, self.outputs))
    }

    /// Some rows times some panels of halves, each of which is widened beforehand.
    ///
    /// # Safety
    /// As of [`Right::multiply_rows`].
    #[allow(unsafe_code)]
    unsafe fn multiply_widened(&self, rows: usize, columns: Range<usize>, x: (&[f32], View), out: Out) {
        let (inputs, width) = (self.inputs, self.tile.columns);
        WIDE.with_borrow_mut(|scratch| {
            let wide = scratch.room(inputs * width);
            for first in columns.clone().step_by(width) {
                widen(&self.lines.numbers()[first * inputs..][..inputs * width], wide);
                let n = width.min(columns.end - first);
                let panel = Right::of(self.tile, &*wide, (inputs, n));
                // SAFETY: the caller's.
                unsafe { panel.multiply_rows(rows, 0..inputs, 0..n, 1.0, x, out.right(first - columns.start)) };
            }
        });
    }
}

/// Panels of `rows`, as many in each as it is wide.
fn laid_out<N: Number>(
    rows: &[Numbers<'_>],
    (inputs, width): (usize, usize),
    number: impl Fn(f32) -> N + Sync,
) -> Scratch {
    let mut lines = Scratch::new();
    let panels: &mut [N] = lines.room(rows.len().next_multiple_of(width) * inputs);
    panels.par_chunks_mut(inputs * width).zip(rows.par_chunks(width)).for_each(|(panel, rows)| {
        let rows: Vec<_> = rows.iter().map(|row| row.to_f32()).collect();
        // So that what is read and what is written both stay in the cache.
        for (block, lines) in panel.chunks_mut(BLOCK * width).enumerate() {
            for (column, row) in rows.iter().enumerate() {
                for (line, value) in lines.chunks_exact_mut(width).zip(&row[block * BLOCK..]) {
                    line[column] = number(*value);
                }
            }
        }
    });
    lines
}

/// `y[rows, outputs] = x[rows, inputs] w^T`, plus `y` itself if `add`. A row's result depends on no other row.
///
/// # Panics
/// If the lengths of `x` and `y` are not those of the same number of rows.
#[allow(unsafe_code)]
pub fn multiply(x: &[f32], w: &Panels, y: &mut [f32], add: bool) {
    let (inputs, outputs) = (w.inputs, w.outputs);
    let rows = x.len() / inputs;
    assert!(x.len() == rows * inputs && y.len() == rows * outputs, "product shapes");
    if rows == 0 || outputs == 0 {
        return;
    }
    let tasks = tasks((rows, outputs, inputs), rayon::current_num_threads());
    let out = Out { start: y.as_mut_ptr(), row: outputs, add };
    let view = View::rows(inputs);
    share((rows, outputs), w.tile, out, tasks, |first, rows, columns, out| {
        let x = (x, view.from(first, 0));
        // SAFETY: `x` holds the rows, `y` is borrowed mutably, and tasks differ in what they write.
        unsafe {
            if !w.halves {
                w.right::<f32>().multiply_rows(rows, 0..inputs, columns, 1.0, x, out);
            } else if rows < MANY {
                w.right::<bf16>().multiply_rows(rows, 0..inputs, columns, 1.0, x, out);
            } else {
                w.multiply_widened(rows, columns, x, out);
            }
        }
    });
}
