//! Rows times a panel of sixteen columns: the inner loop of products with weights that were laid out beforehand.
//!
//! Every output is one chain of multiply-adds over the inputs, in their order, whatever the number of rows and the width of the
//! registers: a row's result is the same bits in any company, and on every instruction set that fuses multiply and add. Weights of half
//! the bytes are widened in registers.

use half::bf16;

use super::numbers::wide;

/// Columns of a panel.
pub(crate) const WIDTH: usize = 16;

/// One input's weights for the columns of a panel; a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [f32; WIDTH]);

impl Line {
    pub(crate) const ZERO: Self = Self([0.0; WIDTH]);
}

/// The same in half the bytes.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(crate) struct HalfLine(pub(crate) [bf16; WIDTH]);

impl HalfLine {
    pub(crate) const ZERO: Self = Self([bf16::ZERO; WIDTH]);
}

/// Weights of one input, in whatever form: what a tile can be made with.
pub(crate) trait Weights: Copy {
    /// Weight number `column` as f32.
    fn weight(&self, column: usize) -> f32;

    /// Adds `x[rows, panel.len()]`, whose rows lie `stride` apart, times `panel` to `sums[rows]`, if there are vectors for it.
    ///
    /// # Safety
    /// Every row must lie within `x`.
    #[allow(unsafe_code)]
    unsafe fn vectors(x: &[f32], stride: usize, panel: &[Self], sums: &mut [Line]) -> bool;
}

/// The same, with vectors or without.
///
/// # Panics
/// If `x` is too short.
#[allow(unsafe_code)]
pub(crate) fn accumulate<W: Weights>(x: &[f32], stride: usize, panel: &[W], sums: &mut [Line]) {
    if sums.is_empty() {
        return;
    }
    assert!((sums.len() - 1) * stride + panel.len() <= x.len(), "rows leave their slice");
    // SAFETY: asserted above.
    if unsafe { W::vectors(x, stride, panel, sums) } {
        return;
    }
    for (row, sums) in sums.iter_mut().enumerate() {
        for (x, weights) in x[row * stride..].iter().zip(panel) {
            for (column, sum) in sums.0.iter_mut().enumerate() {
                let weight = weights.weight(column);
                // Where it is no instruction, a fused multiply-add is a call to libm.
                *sum = if cfg!(target_arch = "aarch64") { x.mul_add(weight, *sum) } else { *sum + x * weight };
            }
        }
    }
}

/// Lets a kind of line be multiplied with, by the modules of [`with_vectors`] that read it.
macro_rules! weights {
    ($line:ty, $avx512:ident, $avx2:ident, |$held:ident| $widen:expr) => {
        impl Weights for $line {
            #[inline(always)]
            fn weight(&self, column: usize) -> f32 {
                let $held = self.0[column];
                $widen
            }

            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            unsafe fn vectors(x: &[f32], stride: usize, panel: &[Self], sums: &mut [Line]) -> bool {
                if std::is_x86_feature_detected!("avx512f") {
                    // SAFETY: the feature was detected, and the rows lie within `x` (the caller's).
                    unsafe { $avx512::rows(x, stride, panel, sums) };
                    return true;
                }
                let detected = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
                if detected {
                    // SAFETY: the features were detected, and the rows lie within `x` (the caller's).
                    unsafe { $avx2::rows(x, stride, panel, sums) };
                }
                detected
            }

            #[cfg(not(target_arch = "x86_64"))]
            #[allow(unsafe_code)]
            unsafe fn vectors(_: &[f32], _: usize, _: &[Self], _: &mut [Line]) -> bool {
                false
            }
        }
    };
}

weights!(Line, avx512, avx2, |weight| weight);
weights!(HalfLine, avx512_halves, avx2_halves, |weight| wide(weight));

/// The same with vectors of `$lanes`. Intrinsics, since the loop gives its best only if the weights stay in registers, and from plain
/// arrays the compiler reads them again for every row.
#[cfg(target_arch = "x86_64")]
macro_rules! with_vectors {
    (
        $name:ident, $features:literal, $rows:literal, $lanes:literal,
        $set:ident, $load:ident, $fma:ident, $store:ident, $line:ident, |$at:ident| $weights:expr
    ) => {
        #[allow(unsafe_code)]
        mod $name {
            #[allow(clippy::wildcard_imports)]
            use std::arch::x86_64::*;
            use std::array::from_fn;

            use super::{Line, WIDTH};

            /// As many rows at a time as there are registers for, then four, two and one.
            ///
            /// # Safety
            /// Every row must lie within `x`.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn rows(x: &[f32], stride: usize, panel: &[super::$line], sums: &mut [Line]) {
                let (blocks, rest) = sums.as_chunks_mut::<$rows>();
                let whole = blocks.len() * $rows;
                let (fours, rest) = rest.as_chunks_mut::<4>();
                let fourfold = whole + fours.len() * 4;
                let (twos, rest) = rest.as_chunks_mut::<2>();
                let twofold = fourfold + twos.len() * 2;
                // SAFETY: the caller's, for each of these rows.
                unsafe {
                    for (i, block) in blocks.iter_mut().enumerate() {
                        tile(&x[i * $rows * stride..], stride, panel, block);
                    }
                    for (i, block) in fours.iter_mut().enumerate() {
                        tile(&x[(whole + i * 4) * stride..], stride, panel, block);
                    }
                    for (i, block) in twos.iter_mut().enumerate() {
                        tile(&x[(fourfold + i * 2) * stride..], stride, panel, block);
                    }
                    for (i, row) in rest.iter_mut().enumerate() {
                        tile(&x[(twofold + i) * stride..], stride, panel, std::array::from_mut(row));
                    }
                }
            }

            /// # Safety
            /// `M` rows must lie within `x`.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn tile<const M: usize>(x: &[f32], stride: usize, panel: &[super::$line], sums: &mut [Line; M]) {
                const VECTORS: usize = WIDTH / $lanes;
                let rows: [*const f32; M] = from_fn(|row| x[row * stride..].as_ptr());
                // SAFETY: a line is `VECTORS` vectors, and a row has as many numbers as the panel has lines (the caller's).
                unsafe {
                    let mut held: [[_; VECTORS]; M] =
                        from_fn(|row| from_fn(|v| $load(sums[row].0.as_ptr().add(v * $lanes))));
                    for (i, line) in panel.iter().enumerate() {
                        let weights: [_; VECTORS] = from_fn(|v| {
                            let $at = line.0.as_ptr().add(v * $lanes);
                            $weights
                        });
                        for row in 0..M {
                            let x = $set(*rows[row].add(i));
                            for v in 0..VECTORS {
                                held[row][v] = $fma(x, weights[v], held[row][v]);
                            }
                        }
                    }
                    for (sums, held) in sums.iter_mut().zip(held) {
                        for (v, vector) in held.into_iter().enumerate() {
                            $store(sums.0.as_mut_ptr().add(v * $lanes), vector);
                        }
                    }
                }
            }
        }
    };
}

// Twelve sums of one register each hide the latency of the multiply-adds.
#[cfg(target_arch = "x86_64")]
with_vectors!(
    avx512,
    "avx512f",
    12,
    16,
    _mm512_set1_ps,
    _mm512_load_ps,
    _mm512_fmadd_ps,
    _mm512_store_ps,
    Line,
    |at| _mm512_load_ps(at)
);
// Six sums of two registers each, which leaves four of the sixteen for the operands.
#[cfg(target_arch = "x86_64")]
with_vectors!(avx2, "avx2,fma", 6, 8, _mm256_set1_ps, _mm256_load_ps, _mm256_fmadd_ps, _mm256_store_ps, Line, |at| {
    _mm256_load_ps(at)
});
// A bf16 is the upper half of an f32.
#[cfg(target_arch = "x86_64")]
with_vectors!(
    avx512_halves,
    "avx512f",
    12,
    16,
    _mm512_set1_ps,
    _mm512_load_ps,
    _mm512_fmadd_ps,
    _mm512_store_ps,
    HalfLine,
    |at| _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_load_si256(at.cast())), 16))
);
#[cfg(target_arch = "x86_64")]
with_vectors!(
    avx2_halves,
    "avx2,fma",
    6,
    8,
    _mm256_set1_ps,
    _mm256_load_ps,
    _mm256_fmadd_ps,
    _mm256_store_ps,
    HalfLine,
    |at| _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_load_si128(at.cast())), 16))
);
