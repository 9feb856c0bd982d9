//! Rows times a panel of sixteen columns: the inner loop of products with weights that were laid out beforehand.
//!
//! Every output is one chain of fused multiply-adds over the inputs, in their order, whatever the number of rows and the instruction
//! set: a row's result is the same bits in any company. (A machine without fused multiply-adds computes them in software, slowly.)

use std::array::from_fn;

/// Columns of a panel.
pub(crate) const WIDTH: usize = 16;

/// One input's weights for the columns of a panel; a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [f32; WIDTH]);

impl Line {
    pub(crate) const ZERO: Self = Self([0.0; WIDTH]);
}

/// Adds `x[rows, panel.len()]`, whose rows lie `stride` apart, times `panel` to `sums[rows]`.
#[allow(unsafe_code)]
pub(crate) fn accumulate(x: &[f32], stride: usize, panel: &[Line], sums: &mut [Line]) {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature was detected.
            return unsafe { avx512(x, stride, panel, sums) };
        }
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            // SAFETY: the features were detected.
            return unsafe { avx2(x, stride, panel, sums) };
        }
    }
    rows::<4>(x, stride, panel, sums);
}

/// Twelve sums of one register each hide the latency of the multiply-adds.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(x: &[f32], stride: usize, panel: &[Line], sums: &mut [Line]) {
    rows::<12>(x, stride, panel, sums);
}

/// Six sums of two registers each, which leaves four of the sixteen for the operands.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(x: &[f32], stride: usize, panel: &[Line], sums: &mut [Line]) {
    rows::<6>(x, stride, panel, sums);
}

/// `M` rows at a time, then four, then one.
#[inline(always)]
fn rows<const M: usize>(x: &[f32], stride: usize, panel: &[Line], sums: &mut [Line]) {
    let (blocks, rest) = sums.as_chunks_mut::<M>();
    let whole = blocks.len() * M;
    for (i, block) in blocks.iter_mut().enumerate() {
        tile(&x[i * M * stride..], stride, panel, block);
    }
    let (fours, rest) = rest.as_chunks_mut::<4>();
    let fourfold = whole + fours.len() * 4;
    for (i, block) in fours.iter_mut().enumerate() {
        tile(&x[(whole + i * 4) * stride..], stride, panel, block);
    }
    for (i, row) in rest.as_chunks_mut::<1>().0.iter_mut().enumerate() {
        tile(&x[(fourfold + i) * stride..], stride, panel, row);
    }
}

#[inline(always)]
fn tile<const M: usize>(x: &[f32], stride: usize, panel: &[Line], sums: &mut [Line; M]) {
    let rows: [&[f32]; M] = from_fn(|row| &x[row * stride..][..panel.len()]);
    let mut held = *sums;
    for (i, weights) in panel.iter().enumerate() {
        for row in 0..M {
            for column in 0..WIDTH {
                held[row].0[column] = rows[row][i].mul_add(weights.0[column], held[row].0[column]);
            }
        }
    }
    *sums = held;
}
