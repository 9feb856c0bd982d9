//! Products with weights that serve many steps.
//!
//! A library's product lays out its operands anew in every call, which with few rows costs more than the arithmetic. Weights change
//! once per version, so they are laid out once, in panels of sixteen outputs, each contiguous, and every step only reads them. Few rows
//! take as long as reading takes: weights that bf16 holds exactly are laid out in half the bytes.

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::numbers::{Numbers, narrow};
use super::panel::{HalfLine, Line, WIDTH, Weights, accumulate};
use super::simd::multiversion;

/// Rows whose sums a task holds at once: together with a slice of a panel they stay in the innermost caches.
const ROWS: usize = 96;
/// Inputs of a panel that are walked at once: 16 KiB of it.
const INPUTS: usize = 256;
/// Rows for which weights are widened beforehand: with fewer, it is cheaper to widen them again for every few rows.
const MANY: usize = 16;
/// Multiply-adds below which a task is not worth handing over.
const WORTHWHILE: usize = 1 << 20;

/// A weight `[outputs, inputs]` laid out for products; its last panel is filled up with zeros.
#[derive(Debug, Clone)]
pub struct Panels {
    outputs: usize,
    inputs: usize,
    lines: Lines,
}

#[derive(Debug, Clone)]
enum Lines {
    F32(Vec<Line>),
    Bf16(Vec<HalfLine>),
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
        let lines = if parts.iter().all(|part| part.are_bf16()) {
            Lines::Bf16(laid_out(&rows, inputs, HalfLine::ZERO, |line, column, x| line.0[column] = narrow(x)))
        } else {
            Lines::F32(laid_out(&rows, inputs, Line::ZERO, |line, column, x| line.0[column] = x))
        };
        Self { outputs: rows.len(), inputs, lines }
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
        match &self.lines {
            Lines::F32(lines) => size_of_val(&lines[..]),
            Lines::Bf16(lines) => size_of_val(&lines[..]),
        }
    }

    /// Adds the product of `x`, whose rows lie `inputs` apart, with panel number `panel` to `sums`.
    fn add_product(&self, panel: usize, x: &[f32], sums: &mut [Line]) {
        let at = panel * self.inputs..(panel + 1) * self.inputs;
        match &self.lines {
            Lines::F32(lines) => add_blocks(&lines[at], x, sums),
            Lines::Bf16(lines) if sums.len() < MANY => add_blocks(&lines[at], x, sums),
            Lines::Bf16(lines) => {
                let mut wide = [Line::ZERO; INPUTS];
                for (block, lines) in lines[at].chunks(INPUTS).enumerate() {
                    let wide = &mut wide[..lines.len()];
                    widen(lines, wide);
                    accumulate(&x[block * INPUTS..], self.inputs, wide, sums);
                }
            }
        }
    }
}

multiversion! {
    fn widen(lines: &[HalfLine], wide: &mut [Line]) {
        for (line, wide) in lines.iter().zip(wide) {
            (0..WIDTH).for_each(|column| wide.0[column] = line.weight(column));
        }
    }
}

fn add_blocks<W: Weights>(panel: &[W], x: &[f32], sums: &mut [Line]) {
    for (block, lines) in panel.chunks(INPUTS).enumerate() {
        accumulate(&x[block * INPUTS..], panel.len(), lines, sums);
    }
}

/// Panels of `rows`, sixteen each.
fn laid_out<L: Copy + Send>(
    rows: &[Numbers<'_>],
    inputs: usize,
    zero: L,
    put: impl Fn(&mut L, usize, f32) + Sync,
) -> Vec<L> {
    let mut lines = vec![zero; rows.len().div_ceil(WIDTH) * inputs];
    lines.par_chunks_mut(inputs).zip(rows.par_chunks(WIDTH)).for_each(|(panel, rows)| fill(panel, rows, &put));
    lines
}

/// Sixteen inputs of all rows at a time, so that what is read and what is written both stay in the cache.
fn fill<L>(panel: &mut [L], rows: &[Numbers<'_>], put: &impl Fn(&mut L, usize, f32)) {
    let rows: Vec<_> = rows.iter().map(|row| row.to_f32()).collect();
    for (block, lines) in panel.chunks_mut(WIDTH).enumerate() {
        for (column, row) in rows.iter().enumerate() {
            for (line, value) in lines.iter_mut().zip(&row[block * WIDTH..]) {
                put(line, column, *value);
            }
        }
    }
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
    let (chunks, panels) = (rows.div_ceil(ROWS), outputs.div_ceil(WIDTH));
    let least = WORTHWHILE.div_ceil(rows.clamp(1, ROWS) * inputs * WIDTH);
    let width = (chunks * panels).div_ceil(4 * rayon::current_num_threads()).max(least).min(panels.max(1));
    let across = panels.div_ceil(width);
    let y = Tiles::new(y, outputs);
    (0..chunks * across).into_par_iter().for_each(|task| {
        let first = task / across * ROWS;
        let rows = first..(first + ROWS).min(rows);
        let from = task % across * width;
        for panel in from..(from + width).min(panels) {
            let mut sums = [Line::ZERO; ROWS];
            let sums = &mut sums[..rows.len()];
            w.add_product(panel, &x[rows.start * inputs..], sums);
            let columns = panel * WIDTH..((panel + 1) * WIDTH).min(outputs);
            // SAFETY: tasks differ in their rows or in their panels, so no two write to the same place.
            unsafe { y.store(rows.clone(), columns, sums, add) };
        }
    });
}

/// A row-major matrix of which every task writes columns and rows of its own.
struct Tiles<'a> {
    start: *mut f32,
    len: usize,
    width: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: the only way to use it from several threads is `store`, whose callers keep apart.
#[allow(unsafe_code)]
unsafe impl Sync for Tiles<'_> {}

impl<'a> Tiles<'a> {
    fn new(matrix: &'a mut [f32], width: usize) -> Self {
        Self { start: matrix.as_mut_ptr(), len: matrix.len(), width, borrowed: PhantomData }
    }

    /// Writes `sums` to `columns` of `rows`.
    ///
    /// # Safety
    /// Nobody else may be writing there.
    #[allow(unsafe_code)]
    unsafe fn store(&self, rows: Range<usize>, columns: Range<usize>, sums: &[Line], add: bool) {
        assert!(columns.end <= self.width && rows.end * self.width <= self.len, "a tile leaves its matrix");
        for (row, sums) in rows.zip(sums) {
            let start = row * self.width + columns.start;
            // SAFETY: the row's columns lie within the matrix (asserted above), and nobody else writes them now.
            let to = unsafe { std::slice::from_raw_parts_mut(self.start.add(start), columns.len()) };
            if add {
                to.iter_mut().zip(&sums.0).for_each(|(y, sum)| *y += sum);
            } else {
                to.iter_mut().zip(&sums.0).for_each(|(y, sum)| *y = *sum);
            }
        }
    }
}
