//! `y = x w^T`: `y[i, j] = sum_c x[i, c] w[j, c]`, with `x[m, k]`, `w[n, k]`, `y[m, n]`.

/// `y[m, n]` from `x[m, k]` and `w[n, k]`.
#[must_use]
pub fn linear(x: &[f64], w: &[f64], (m, k, n): (usize, usize, usize)) -> Vec<f64> {
    let mut y = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            for c in 0..k {
                y[i * n + j] += x[i * k + c] * w[j * k + c];
            }
        }
    }
    y
}

/// `dx[i, c] = sum_j dy[i, j] w[j, c]`, `[m, k]` from `dy[m, n]` and `w[n, k]`.
#[must_use]
pub fn linear_input_gradient(dy: &[f64], w: &[f64], (m, k, n): (usize, usize, usize)) -> Vec<f64> {
    let mut dx = vec![0.0; m * k];
    for i in 0..m {
        for j in 0..n {
            for c in 0..k {
                dx[i * k + c] += dy[i * n + j] * w[j * k + c];
            }
        }
    }
    dx
}

/// `dw[j, c] = sum_i dy[i, j] x[i, c]`, `[n, k]` from `dy[m, n]` and `x[m, k]`.
#[must_use]
pub fn linear_weight_gradient(dy: &[f64], x: &[f64], (m, k, n): (usize, usize, usize)) -> Vec<f64> {
    let mut dw = vec![0.0; n * k];
    for i in 0..m {
        for j in 0..n {
            for c in 0..k {
                dw[j * k + c] += dy[i * n + j] * x[i * k + c];
            }
        }
    }
    dw
}

#[cfg(test)]
mod tests {
    use super::super::check::{assert_gradient, numbers};
    use super::*;

    #[test]
    fn each_output_is_a_dot_product_of_a_row_with_a_row() {
        // [1 2] . [3 4] = 11, [1 2] . [5 6] = 17
        assert_eq!(linear(&[1.0, 2.0], &[3.0, 4.0, 5.0, 6.0], (1, 2, 2)), [11.0, 17.0]);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let shape = (3, 4, 2);
        let (x, w, dy) = (numbers(1, 12), numbers(2, 8), numbers(3, 6));
        assert_gradient(&x, &dy, &linear_input_gradient(&dy, &w, shape), |x| linear(x, &w, shape));
        assert_gradient(&w, &dy, &linear_weight_gradient(&dy, &x, shape), |w| linear(&x, w, shape));
    }
}
