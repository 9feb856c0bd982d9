//! Root-mean-square layer norm (Zhang & Sennrich, arXiv:1910.07467).
//!
//! With `r = 1 / sqrt(mean_i(x_i^2) + eps)` for each row of `x[rows, h]`: `y_i = w_i x_i r`.

/// `y[rows, h]` from `x[rows, h]` and `w[h]`.
#[must_use]
pub fn rms_norm(x: &[f64], w: &[f64], eps: f64) -> Vec<f64> {
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks_exact(w.len()) {
        let r = reciprocal_rms(row, eps);
        y.extend(row.iter().zip(w).map(|(x, w)| w * x * r));
    }
    y
}

/// `dx[rows, h]` and `dw[h]` from `dy[rows, h]`. With `s = sum_i dy_i w_i x_i`:
/// `dx_i = dy_i w_i r - x_i s r^3 / h` and `dw_i = sum_rows dy_i x_i r`.
#[must_use]
pub fn rms_norm_backward(dy: &[f64], x: &[f64], w: &[f64], eps: f64) -> (Vec<f64>, Vec<f64>) {
    let h = w.len();
    let (mut dx, mut dw) = (Vec::with_capacity(x.len()), vec![0.0; h]);
    for (dy, x) in dy.chunks_exact(h).zip(x.chunks_exact(h)) {
        let r = reciprocal_rms(x, eps);
        let s: f64 = (0..h).map(|i| dy[i] * w[i] * x[i]).sum();
        for i in 0..h {
            dx.push(dy[i] * w[i] * r - x[i] * s * r.powi(3) / h as f64);
            dw[i] += dy[i] * x[i] * r;
        }
    }
    (dx, dw)
}

fn reciprocal_rms(row: &[f64], eps: f64) -> f64 {
    let mean_square = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
    1.0 / (mean_square + eps).sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::check::{assert_gradient, numbers};
    use super::*;

    #[test]
    fn a_row_is_divided_by_its_root_mean_square() {
        // the mean square of 4, 0, 0, 0 is 4, its root 2: 4 / 2 = 2, tripled
        assert_eq!(rms_norm(&[4.0, 0.0, 0.0, 0.0], &[3.0; 4], 0.0), [6.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_row_of_zeros_stays_zero() {
        assert_eq!(rms_norm(&[0.0; 3], &[1.0; 3], 1e-6), [0.0; 3]);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (x, w, dy, eps) = (numbers(1, 15), numbers(2, 5), numbers(3, 15), 1e-2);
        let (dx, dw) = rms_norm_backward(&dy, &x, &w, eps);
        assert_gradient(&x, &dy, &dx, |x| rms_norm(x, &w, eps));
        assert_gradient(&w, &dy, &dw, |w| rms_norm(&x, w, eps));
    }
}
