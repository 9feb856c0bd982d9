//! SwiGLU (Shazeer, arXiv:2002.05202): `y = silu(g) * u`, from rows that hold `g` and `u` side by side.

use rayon::prelude::*;

use super::simd::{exp, multiversion};

const ROWS: usize = 8;

/// `y[rows, n]` from `gate_up[rows, 2 n]`.
pub fn gate(gate_up: &[f32], y: &mut [f32], n: usize) {
    assert_eq!(gate_up.len(), 2 * y.len(), "gate shapes");
    gate_up
        .par_chunks(2 * n * ROWS)
        .zip(y.par_chunks_mut(n * ROWS))
        .for_each(|(gate_up, y)| forward_rows(gate_up, y, n));
}

multiversion! {
    fn forward_rows<const FMA: bool>(gate_up: &[f32], y: &mut [f32], n: usize) {
        for (gate_up, y) in gate_up.chunks_exact(2 * n).zip(y.chunks_exact_mut(n)) {
            let (g, u) = gate_up.split_at(n);
            for i in 0..n {
                y[i] = g[i] / (1.0 + exp::<FMA>(-g[i])) * u[i];
            }
        }
    }
}

/// `d_gate_up[rows, 2 n]` from `dy[rows, n]`.
pub fn gate_backward(dy: &[f32], gate_up: &[f32], d_gate_up: &mut [f32], n: usize) {
    assert!(gate_up.len() == 2 * dy.len() && d_gate_up.len() == gate_up.len(), "gate shapes");
    let inputs = dy.par_chunks(n * ROWS).zip(gate_up.par_chunks(2 * n * ROWS));
    inputs.zip(d_gate_up.par_chunks_mut(2 * n * ROWS)).for_each(|((dy, gate_up), d)| backward_rows(dy, gate_up, d, n));
}

multiversion! {
    fn backward_rows<const FMA: bool>(dy: &[f32], gate_up: &[f32], d_gate_up: &mut [f32], n: usize) {
        let rows = dy.chunks_exact(n).zip(gate_up.chunks_exact(2 * n)).zip(d_gate_up.chunks_exact_mut(2 * n));
        for ((dy, gate_up), d) in rows {
            let (g, u) = gate_up.split_at(n);
            let (dg, du) = d.split_at_mut(n);
            for i in 0..n {
                let s = 1.0 / (1.0 + exp::<FMA>(-g[i]));
                let a = g[i] * s;
                du[i] = dy[i] * a;
                dg[i] = dy[i] * u[i] * (s + a * (1.0 - s));
            }
        }
    }
}
