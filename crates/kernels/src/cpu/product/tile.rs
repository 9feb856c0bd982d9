//! The inner loop of products: a few rows times a panel of columns, summed in registers.
//!
//! Every sum is one chain of multiply-adds, in the order of what is summed over, whatever the number of rows and the width of the registers.

use half::bf16;

use super::View;
use crate::cpu::numbers::wide;
use crate::cpu::simd::{FMA_AT_BASELINE, Level, mul_add};

/// Columns of the widest panel; other widths divide it.
pub(crate) const WIDEST: usize = 32;
/// Rows of the tallest tile.
const TALLEST: usize = 12;
/// Rows of a panel that are asked for before they are multiplied: the first tile that meets a panel may have it come from memory.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 32;
/// Bytes that memory gives at a time.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Rows of a left factor: where they begin, and how far apart its rows and columns are.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    pub(super) start: *const f32,
    pub(super) row: usize,
    pub(super) column: usize,
}

impl Left {
    /// Those of `matrix` from `row` on.
    pub(super) fn of(matrix: &[f32], view: View, row: usize) -> Self {
        let start = matrix[view.from(row, 0).offset..].as_ptr();
        Self { start, row: view.row_stride, column: view.column_stride }
    }
}

/// Rows that are written: how far apart they are, and whether what is there is added to.
#[derive(Clone, Copy)]
pub(crate) struct Out {
    pub(super) start: *mut f32,
    pub(super) row: usize,
    pub(super) add: bool,
}

impl Out {
    /// From `rows` further down on.
    pub(super) fn down(self, rows: usize) -> Self {
        self.right(rows * self.row)
    }

    /// From `columns` further right on.
    pub(super) fn right(self, columns: usize) -> Self {
        Self { start: self.start.wrapping_add(columns), ..self }
    }
}

/// What a panel may hold: numbers that are f32 once they are in registers.
pub(crate) trait Number: Copy + Send + Sync + 'static {
    /// As f32.
    fn wide(self) -> f32;

    /// The loop over panels of them.
    fn run(tile: &Tile) -> Run<Self>;
}

pub(crate) type Run<N> = unsafe fn(usize, usize, Left, *const N, f32, Out);

/// How one instruction set multiplies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tile {
    /// Rows that there are registers for.
    pub(super) rows: usize,
    /// Columns of a panel.
    pub(super) columns: usize,
    run: Run<f32>,
    run_halves: Run<bf16>,
}

impl Number for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }

    fn run(tile: &Tile) -> Run<Self> {
        tile.run
    }
}

impl Number for bf16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        wide(self)
    }

    fn run(tile: &Tile) -> Run<Self> {
        tile.run_halves
    }
}

impl Tile {
    /// The one for this CPU.
    pub(super) fn chosen() -> Self {
        match Level::chosen() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => Self { rows: 12, columns: 32, run: avx512::run, run_halves: avx512_halves::run },
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => Self { rows: 6, columns: 16, run: avx2::run, run_halves: avx2_halves::run },
            Level::Baseline => Self { rows: 6, columns: 16, run: plain::<_, 16>, run_halves: plain::<_, 16> },
        }
    }

    /// One in plain Rust, of the tallest and widest measures that there are.
    #[cfg(test)]
    pub(super) fn largest() -> Self {
        Self { rows: TALLEST, columns: WIDEST, run: plain::<_, WIDEST>, run_halves: plain::<_, WIDEST> }
    }

    /// `out[rows, columns] (+)= scale * left[rows, inner] right[inner, columns]`, of which `right` is a panel: `inner` times a whole row
    /// of it. All its columns are multiplied, those up to `columns` are written.
    ///
    /// # Safety
    /// There are 1 to `self.rows` rows, all of `left` and `right` may be read, and all of `out` may be written by nobody else.
    #[allow(unsafe_code)]
    #[inline]
    pub(super) unsafe fn multiply<N: Number>(
        &self,
        (rows, columns, inner): (usize, usize, usize),
        left: Left,
        right: *const N,
        scale: f32,
        out: Out,
    ) {
        if columns == self.columns {
            // SAFETY: the caller's.
            return unsafe { N::run(self)(rows, inner, left, right, scale, out) };
        }
        // As if all columns were there, so that a column's bits do not depend on how wide a panel is.
        let mut whole = [0.0; TALLEST * WIDEST];
        // SAFETY: the caller's.
        let to = |row: usize| unsafe { std::slice::from_raw_parts_mut(out.start.add(row * out.row), columns) };
        if out.add {
            for (row, whole) in whole.chunks_exact_mut(self.columns).take(rows).enumerate() {
                whole[..columns].copy_from_slice(to(row));
            }
        }
        let aside = Out { start: whole.as_mut_ptr(), row: self.columns, ..out };
        // SAFETY: the caller's, but for what is written, which holds a whole tile.
        unsafe { N::run(self)(rows, inner, left, right, scale, aside) };
        for (row, whole) in whole.chunks_exact(self.columns).take(rows).enumerate() {
            to(row).copy_from_slice(&whole[..columns]);
        }
    }
}

/// The loop in plain Rust, with up to twelve rows and panels of `COLUMNS`.
///
/// # Safety
/// As of [`Tile::multiply`], and all columns of `out` may be written.
#[allow(unsafe_code)]
unsafe fn plain<N: Number, const COLUMNS: usize>(
    rows: usize,
    inner: usize,
    left: Left,
    right: *const N,
    scale: f32,
    out: Out,
) {
    macro_rules! of_height {
        ($($height:literal)*) => {
            match rows {
                // SAFETY: the caller's.
                $($height => unsafe { plain_tile::<$height, N, COLUMNS>(inner, left, right, scale, out) },)*
                _ => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    of_height!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// # Safety
/// As of [`plain`].
#[allow(unsafe_code)]
unsafe fn plain_tile<const M: usize, N: Number, const COLUMNS: usize>(
    inner: usize,
    left: Left,
    right: *const N,
    scale: f32,
    out: Out,
) {
    let mut sums = [[0.0f32; COLUMNS]; M];
    for i in 0..inner {
        // SAFETY: a panel has `inner` rows, and the left factor as many columns (the caller's).
        let right = unsafe { &*right.add(i * COLUMNS).cast::<[N; COLUMNS]>() };
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's.
            let x = unsafe { *left.start.add(row * left.row + i * left.column) };
            sums.iter_mut().zip(right).for_each(|(sum, y)| *sum = mul_add::<FMA_AT_BASELINE>(x, y.wide(), *sum));
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: the caller's.
        let to = unsafe { &mut *out.start.add(row * out.row).cast::<[f32; COLUMNS]>() };
        for (to, sum) in to.iter_mut().zip(sums) {
            *to = if out.add { mul_add::<FMA_AT_BASELINE>(*sum, scale, *to) } else { sum * scale };
        }
    }
}

/// The same with vectors of `$lanes`, two of them for each of as many rows as there are registers for. Intrinsics, since the loop gives
/// its best only if sums and columns stay in registers.
#[cfg(target_arch = "x86_64")]
macro_rules! with_vectors {
    (
        $name:ident, $features:literal, $lanes:literal, $tallest:literal: [$($rows:literal)*],
        $zero:ident, $set:ident, $load:ident, $fma:ident, $mul:ident, $store:ident, $number:ty, |$at:ident| $columns:expr
    ) => {
        #[allow(unsafe_code)]
        mod $name {
            #[allow(clippy::wildcard_imports)]
            use std::arch::x86_64::*;

            use super::{AHEAD, LINE, Left, Out};

            /// # Safety
            /// As of [`plain`](super::plain), and the CPU has the features.
            pub(super) unsafe fn run(rows: usize, inner: usize, left: Left, right: *const $number, scale: f32, out: Out) {
                // SAFETY: the caller's.
                unsafe {
                    match (left.row, left.column) {
                        (1, $tallest) => apart::<1, $tallest>(rows, inner, left, right, scale, out),
                        (_, 1) => apart::<0, 1>(rows, inner, left, right, scale, out),
                        _ => apart::<0, 0>(rows, inner, left, right, scale, out),
                    }
                }
            }

            /// The same for rows and columns that are `ROW` and `COLUMN` apart; 0 is for whatever they are.
            ///
            /// # Safety
            /// As of [`run`].
            unsafe fn apart<const ROW: usize, const COLUMN: usize>(
                rows: usize, inner: usize, left: Left, right: *const $number, scale: f32, out: Out,
            ) {
                match rows {
                    // SAFETY: the caller's.
                    $($rows => unsafe { tile::<$rows, ROW, COLUMN>(inner, left, right, scale, out) },)*
                    _ => unreachable!("a tile of {rows} rows"),
                }
            }

            #[target_feature(enable = $features)]
            unsafe fn tile<const M: usize, const ROW: usize, const COLUMN: usize>(
                inner: usize, left: Left, right: *const $number, scale: f32, out: Out,
            ) {
                let row_stride = if ROW == 0 { left.row } else { ROW };
                let column_stride = if COLUMN == 0 { left.column } else { COLUMN };
                // SAFETY: the caller's.
                unsafe {
                    for row in 0..M {
                        let to = out.start.add(row * out.row);
                        _mm_prefetch::<_MM_HINT_T0>(to.cast());
                        _mm_prefetch::<_MM_HINT_T0>(to.add(2 * $lanes - 1).cast());
                    }
                    let mut sums = [[$zero(); 2]; M];
                    // An address is a register and a multiple of another: every third row has a register.
                    let third = row_stride * 3;
                    let mut starts: [_; 4] = std::array::from_fn(|i| left.start.wrapping_add(i * third));
                    for i in 0..inner {
                        let right = right.add(i * 2 * $lanes);
                        let ahead = right.wrapping_add(AHEAD * 2 * $lanes).cast::<i8>();
                        for line in (0..2 * $lanes * size_of::<$number>()).step_by(LINE) {
                            _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(line));
                        }
                        let columns: [_; 2] = std::array::from_fn(|v| {
                            let $at = right.add(v * $lanes);
                            $columns
                        });
                        for row in 0..M {
                            let x = $set(*starts[row / 3].add(row % 3 * row_stride));
                            for v in 0..2 {
                                sums[row][v] = $fma(x, columns[v], sums[row][v]);
                            }
                        }
                        starts.iter_mut().for_each(|start| *start = start.wrapping_add(column_stride));
                    }
                    let scale = $set(scale);
                    for (row, sums) in sums.into_iter().enumerate() {
                        for (v, sum) in sums.into_iter().enumerate() {
                            let to = out.start.add(row * out.row + v * $lanes);
                            $store(to, if out.add { $fma(sum, scale, $load(to)) } else { $mul(sum, scale) });
                        }
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
with_vectors!(
    avx512, "avx512f", 16, 12: [1 2 3 4 5 6 7 8 9 10 11 12], _mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, _mm512_fmadd_ps,
    _mm512_mul_ps, _mm512_storeu_ps, f32, |at| _mm512_loadu_ps(at)
);
#[cfg(target_arch = "x86_64")]
with_vectors!(
    avx2, "avx2,fma", 8, 6: [1 2 3 4 5 6], _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_fmadd_ps,
    _mm256_mul_ps, _mm256_storeu_ps, f32, |at| _mm256_loadu_ps(at)
);
// A bf16 is the upper half of an f32.
#[cfg(target_arch = "x86_64")]
with_vectors!(
    avx512_halves, "avx512f", 16, 12: [1 2 3 4 5 6 7 8 9 10 11 12], _mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, _mm512_fmadd_ps,
    _mm512_mul_ps, _mm512_storeu_ps, half::bf16,
    |at| _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast())), 16))
);
#[cfg(target_arch = "x86_64")]
with_vectors!(
    avx2_halves, "avx2,fma", 8, 6: [1 2 3 4 5 6], _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_fmadd_ps,
    _mm256_mul_ps, _mm256_storeu_ps, half::bf16,
    |at| _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast())), 16))
);
