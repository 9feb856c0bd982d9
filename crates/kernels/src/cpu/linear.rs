//! Matrix products over the `gemm` crate, behind bounds checks.

/// A matrix inside a slice.
#[derive(Clone, Copy)]
pub(crate) struct View {
    pub(crate) offset: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl View {
    pub(crate) fn rows(row_stride: usize) -> Self {
        Self { offset: 0, row_stride, column_stride: 1 }
    }

    pub(crate) fn columns(row_stride: usize) -> Self {
        Self { offset: 0, row_stride: 1, column_stride: row_stride }
    }

    pub(crate) fn at(self, offset: usize) -> Self {
        Self { offset, ..self }
    }

    fn end(&self, rows: usize, columns: usize) -> usize {
        self.offset + (rows - 1) * self.row_stride + (columns - 1) * self.column_stride + 1
    }
}

/// `c[m, n] = scale * a[m, k] b[k, n]`, plus `c` itself if `accumulate`.
#[allow(unsafe_code, clippy::too_many_arguments)]
pub(crate) fn product(
    (m, n, k): (usize, usize, usize),
    scale: f32,
    (a, va): (&[f32], View),
    (b, vb): (&[f32], View),
    (c, vc): (&mut [f32], View),
    accumulate: bool,
    threads: usize,
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(va.end(m, k) <= a.len() && vb.end(k, n) <= b.len() && vc.end(m, n) <= c.len(), "matrix leaves its slice");
    let parallelism = if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
    // SAFETY: every element the product touches lies within its slice (asserted above), and `c` is borrowed mutably.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr().add(vc.offset),
            vc.column_stride as isize,
            vc.row_stride as isize,
            accumulate,
            a.as_ptr().add(va.offset),
            va.column_stride as isize,
            va.row_stride as isize,
            b.as_ptr().add(vb.offset),
            vb.column_stride as isize,
            vb.row_stride as isize,
            1.0f32,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

pub(crate) fn threads() -> usize {
    rayon::current_num_threads()
}

/// `y[m, n] = x[m, k] w[n, k]^T`.
pub fn linear(x: &[f32], w: &[f32], y: &mut [f32], (m, k, n): (usize, usize, usize)) {
    product((m, n, k), 1.0, (x, View::rows(k)), (w, View::columns(k)), (y, View::rows(n)), false, threads());
}

/// `y[m, n] += x[m, k] w[n, k]^T`.
pub fn linear_add(x: &[f32], w: &[f32], y: &mut [f32], (m, k, n): (usize, usize, usize)) {
    product((m, n, k), 1.0, (x, View::rows(k)), (w, View::columns(k)), (y, View::rows(n)), true, threads());
}

/// `dx[m, k] = dy[m, n] w[n, k]`.
pub fn linear_input_gradient(dy: &[f32], w: &[f32], dx: &mut [f32], (m, k, n): (usize, usize, usize)) {
    product((m, k, n), 1.0, (dy, View::rows(n)), (w, View::rows(k)), (dx, View::rows(k)), false, threads());
}

/// `dw[n, k] = dy[m, n]^T x[m, k]`.
pub fn linear_weight_gradient(dy: &[f32], x: &[f32], dw: &mut [f32], (m, k, n): (usize, usize, usize)) {
    product((n, k, m), 1.0, (dy, View::columns(n)), (x, View::rows(k)), (dw, View::rows(k)), false, threads());
}

/// `dw[n, k] += dy[m, n]^T x[m, k]`.
pub fn linear_weight_gradient_add(dy: &[f32], x: &[f32], dw: &mut [f32], (m, k, n): (usize, usize, usize)) {
    product((n, k, m), 1.0, (dy, View::columns(n)), (x, View::rows(k)), (dw, View::rows(k)), true, threads());
}
