//! SwiGLU (Shazeer, arXiv:2002.05202): `y = silu(g) u` with `silu(g) = g s` and `s = 1 / (1 + e^-g)`.
//!
//! A row of `gate_up[rows, 2 n]` holds its `n` gates `g`, then its `n` values `u`.

/// `y[rows, n]` from `gate_up[rows, 2 n]`.
#[must_use]
pub fn gate(gate_up: &[f64], n: usize) -> Vec<f64> {
    let mut y = Vec::with_capacity(gate_up.len() / 2);
    for row in gate_up.chunks_exact(2 * n) {
        let (g, u) = row.split_at(n);
        y.extend(g.iter().zip(u).map(|(g, u)| g * sigmoid(*g) * u));
    }
    y
}

/// `d_gate_up[rows, 2 n]` from `dy[rows, n]`: `dg = dy u s (1 + g (1 - s))`, `du = dy g s`.
#[must_use]
pub fn gate_backward(dy: &[f64], gate_up: &[f64], n: usize) -> Vec<f64> {
    let mut d_gate_up = Vec::with_capacity(gate_up.len());
    for (dy, row) in dy.chunks_exact(n).zip(gate_up.chunks_exact(2 * n)) {
        let (g, u) = row.split_at(n);
        d_gate_up.extend((0..n).map(|i| {
            let s = sigmoid(g[i]);
            dy[i] * u[i] * s * (1.0 + g[i] * (1.0 - s))
        }));
        d_gate_up.extend((0..n).map(|i| dy[i] * g[i] * sigmoid(g[i])));
    }
    d_gate_up
}

fn sigmoid(g: f64) -> f64 {
    1.0 / (1.0 + (-g).exp())
}

#[cfg(test)]
mod tests {
    use super::super::check::{assert_gradient, numbers};
    use super::*;

    #[test]
    fn a_gate_is_shut_at_zero_and_passes_what_is_large() {
        // silu(0) = 0, silu(ln 3) = ln 3 x 3/4
        let y = gate(&[0.0, 3f64.ln(), 5.0, 4.0], 2);
        assert_eq!(y[0], 0.0);
        assert!((y[1] - 3.0 * 3f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn the_gradient_agrees_with_finite_differences() {
        let (gate_up, dy) = (numbers(1, 18), numbers(2, 9));
        assert_gradient(&gate_up, &dy, &gate_backward(&dy, &gate_up, 3), |gate_up| gate(gate_up, 3));
    }
}
