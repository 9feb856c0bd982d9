//! Gated feed-forward layers: a row of `gate_up[rows, 2 n]` holds its `n` gates `g`, then its `n` values `u`, and [`Gating`] says what
//! becomes of a pair. With `s(x) = 1 / (1 + e^-x)`, every one is `y = a(g) v(u)` with `a(g) = g s(h(g))`, so
//! `dg = dy v (s + g s (1 - s) h')` and `du = dy a v'`.

use crate::gating::{GELU_CUBE, GELU_SLOPE, Gating};

/// `y[rows, n]` from `gate_up[rows, 2 n]`.
#[must_use]
pub fn gate(gating: Gating, gate_up: &[f64], n: usize) -> Vec<f64> {
    let rows = gate_up.chunks_exact(2 * n).map(|row| row.split_at(n));
    rows.flat_map(|(g, u)| g.iter().zip(u).map(move |(g, u)| pair(gating, *g, *u).y)).collect()
}

/// `d_gate_up[rows, 2 n]` from `dy[rows, n]`.
#[must_use]
pub fn gate_backward(gating: Gating, dy: &[f64], gate_up: &[f64], n: usize) -> Vec<f64> {
    let mut d_gate_up = Vec::with_capacity(gate_up.len());
    for (dy, row) in dy.chunks_exact(n).zip(gate_up.chunks_exact(2 * n)) {
        let (g, u) = row.split_at(n);
        let pairs = || g.iter().zip(u).map(|(g, u)| pair(gating, *g, *u)).zip(dy);
        d_gate_up.extend(pairs().map(|(pair, dy)| dy * pair.along_gate));
        d_gate_up.extend(pairs().map(|(pair, dy)| dy * pair.along_value));
    }
    d_gate_up
}

/// A gated value and its slopes.
struct Pair {
    y: f64,
    along_gate: f64,
    along_value: f64,
}

fn pair(gating: Gating, g: f64, u: f64) -> Pair {
    // `h`, its slope, the value, and whether gate and value move.
    let (g, h, slope, v, moves) = match gating {
        Gating::Silu => (g, g, 1.0, u, (1.0, 1.0)),
        Gating::GeluTanh => {
            let square = GELU_CUBE * g * g;
            (g, GELU_SLOPE * g * (1.0 + square), GELU_SLOPE * (1.0 + 3.0 * square), u, (1.0, 1.0))
        }
        Gating::Clamped { alpha, limit } => {
            let (alpha, limit) = (f64::from(alpha), f64::from(limit));
            let moves = (f64::from(u8::from(g < limit)), f64::from(u8::from(u.abs() < limit)));
            let g = g.min(limit);
            (g, alpha * g, alpha, u.clamp(-limit, limit) + 1.0, moves)
        }
    };
    let s = 1.0 / (1.0 + (-h).exp());
    Pair { y: g * s * v, along_gate: moves.0 * v * (s + g * s * (1.0 - s) * slope), along_value: moves.1 * g * s }
}

#[cfg(test)]
mod tests {
    use super::super::check::{assert_gradient, numbers};
    use super::*;

    #[test]
    fn a_gate_is_shut_at_zero_and_passes_what_is_large() {
        // silu(0) = 0, silu(ln 3) = ln 3 x 3/4
        let y = gate(Gating::Silu, &[0.0, 3f64.ln(), 5.0, 4.0], 2);
        assert_eq!(y[0], 0.0);
        assert!((y[1] - 3.0 * 3f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn the_approximation_of_gelu_is_near_gelu() {
        // Phi(1) = 0.841345: the approximation is right to 2e-4.
        assert!((gate(Gating::GeluTanh, &[1.0, 1.0], 1)[0] - 0.841_345).abs() < 2e-4);
    }

    #[test]
    fn what_is_clamped_ends_at_its_limit() {
        let gating = Gating::Clamped { alpha: 1.0, limit: 2.0 };
        // 2 s(2) (2 + 1), and 2 s(2) (-2 + 1)
        let all = 2.0 / (1.0 + (-2f64).exp());
        assert_eq!(gate(gating, &[9.0, 9.0, 5.0, -5.0], 2), [all * 3.0, -all]);
        assert_eq!(gate_backward(gating, &[1.0, 1.0], &[9.0, 9.0, 5.0, -5.0], 2), [0.0; 4]);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (gate_up, dy) = (numbers(1, 18), numbers(2, 9));
        for gating in [Gating::Silu, Gating::GeluTanh, Gating::Clamped { alpha: 1.7, limit: 0.4 }] {
            let found = gate_backward(gating, &dy, &gate_up, 3);
            assert_gradient(&gate_up, &dy, &found, |gate_up| gate(gating, gate_up, 3));
        }
    }
}
