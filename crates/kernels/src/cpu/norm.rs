//! Root-mean-square layer norm (Zhang & Sennrich, arXiv:1910.07467): `y = w * x / sqrt(mean(x^2) + eps)`.

use rayon::prelude::*;

use super::simd::{LANES, dot, multiversion, sum_lanes};

/// Rows per task; fixed, so that sums over rows do not depend on the number of threads.
pub(super) const ROWS: usize = 32;
pub(super) const PARTIAL_SUMS: usize = 16;
/// Numbers below which a task is not worth handing over.
const WORTHWHILE: usize = 1 << 14;

/// `y[rows, h]` from `x[rows, h]` and `w[h]`; `rstd[rows]` receives the reciprocal root mean square for the backward pass.
pub fn rms_norm(x: &[f32], w: &[f32], eps: f32, y: &mut [f32], rstd: &mut [f32]) {
    let h = w.len();
    assert!(x.len() == y.len() && rstd.len() * h == x.len(), "rms_norm shapes");
    let chunks = x.par_chunks(h * ROWS).zip(y.par_chunks_mut(h * ROWS)).zip(rstd.par_chunks_mut(ROWS));
    chunks.with_min_len(WORTHWHILE.div_ceil(h * ROWS)).for_each(|((x, y), rstd)| forward_rows(x, w, eps, y, rstd));
}

multiversion! {
    pub(super) fn forward_rows(x: &[f32], w: &[f32], eps: f32, y: &mut [f32], rstd: &mut [f32]) {
        let h = w.len();
        for ((x, y), rstd) in x.chunks_exact(h).zip(y.chunks_exact_mut(h)).zip(rstd) {
            let r = 1.0 / (dot(x, x) / h as f32 + eps).sqrt();
            *rstd = r;
            for i in 0..h {
                y[i] = x[i] * r * w[i];
            }
        }
    }
}

/// Adds to `dx[rows, h]` and `dw[h]` what comes from `dy[rows, h]`.
pub fn rms_norm_backward(dy: &[f32], x: &[f32], w: &[f32], rstd: &[f32], dx: &mut [f32], dw: &mut [f32]) {
    let (h, rows) = (w.len(), rstd.len());
    assert!(dy.len() == x.len() && dx.len() == x.len() && rows * h == x.len() && dw.len() == h, "rms_norm shapes");
    if rows == 0 {
        return;
    }
    let per_task = rows.div_ceil(PARTIAL_SUMS).max(ROWS);
    let tasks = rows.div_ceil(per_task);
    let mut partial = vec![0f32; tasks * h];
    let inputs = dy.par_chunks(h * per_task).zip(x.par_chunks(h * per_task)).zip(rstd.par_chunks(per_task));
    let outputs = dx.par_chunks_mut(h * per_task).zip(partial.par_chunks_mut(h));
    inputs.zip(outputs).for_each(|(((dy, x), rstd), (dx, dw))| backward_rows(dy, x, w, rstd, dx, dw));
    for part in partial.chunks_exact(h) {
        dw.iter_mut().zip(part).for_each(|(dw, part)| *dw += part);
    }
}

multiversion! {
    pub(super) fn backward_rows(dy: &[f32], x: &[f32], w: &[f32], rstd: &[f32], dx: &mut [f32], dw: &mut [f32]) {
        let h = w.len();
        for (((dy, x), dx), &r) in dy.chunks_exact(h).zip(x.chunks_exact(h)).zip(dx.chunks_exact_mut(h)).zip(rstd) {
            let mut lanes = [0f32; LANES];
            let whole = h / LANES * LANES;
            for i in (0..whole).step_by(LANES) {
                for j in 0..LANES {
                    lanes[j] += dy[i + j] * w[i + j] * x[i + j];
                }
            }
            let mut inner = sum_lanes(&lanes);
            for i in whole..h {
                inner += dy[i] * w[i] * x[i];
            }
            let pull = inner * r * r * r / h as f32;
            for i in 0..h {
                dx[i] += dy[i] * w[i] * r - x[i] * pull;
                dw[i] += dy[i] * x[i] * r;
            }
        }
    }
}
