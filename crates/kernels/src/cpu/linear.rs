//! Products of a linear layer, and its gradients.

use super::product::{View, product};

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
