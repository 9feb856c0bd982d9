//! Gated feed-forward layers ([`Gating`]), from rows that hold gates and values side by side.

use rayon::prelude::*;

use super::simd::{exp, multiversion};
use crate::gating::{GELU_CUBE, GELU_SLOPE, Gating};

const ROWS: usize = 8;

/// `y[rows, n]` from `gate_up[rows, 2 n]`.
pub fn gate(gating: Gating, gate_up: &[f32], y: &mut [f32], n: usize) {
    assert_eq!(gate_up.len(), 2 * y.len(), "gate shapes");
    gate_up
        .par_chunks(2 * n * ROWS)
        .zip(y.par_chunks_mut(n * ROWS))
        .for_each(|(gate_up, y)| forward_rows(gating, gate_up, y, n));
}

multiversion! {
    fn forward_rows<const FMA: bool>(gating: Gating, gate_up: &[f32], y: &mut [f32], n: usize) {
        match gating {
            Gating::Silu => forward(gate_up, y, n, |g, u| g / (1.0 + exp::<FMA>(-g)) * u),
            Gating::GeluTanh => forward(gate_up, y, n, |g, u| g / (1.0 + exp::<FMA>(-gelu(g).0)) * u),
            Gating::Clamped { alpha, limit } => forward(gate_up, y, n, |g, u| {
                let g = least(g, limit);
                g / (1.0 + exp::<FMA>(-alpha * g)) * (most(least(u, limit), -limit) + 1.0)
            }),
        }
    }
}

#[inline(always)]
fn forward(gate_up: &[f32], y: &mut [f32], n: usize, pair: impl Fn(f32, f32) -> f32) {
    for (gate_up, y) in gate_up.chunks_exact(2 * n).zip(y.chunks_exact_mut(n)) {
        let (g, u) = gate_up.split_at(n);
        for i in 0..n {
            y[i] = pair(g[i], u[i]);
        }
    }
}

/// The gradient of `gate_up[rows, 2 n]` from `dy[rows, n]`, written over `gate_up`.
pub fn gate_backward(gating: Gating, dy: &[f32], gate_up: &mut [f32], n: usize) {
    assert_eq!(gate_up.len(), 2 * dy.len(), "gate shapes");
    dy.par_chunks(n * ROWS)
        .zip(gate_up.par_chunks_mut(2 * n * ROWS))
        .for_each(|(dy, gate_up)| backward_rows(gating, dy, gate_up, n));
}

multiversion! {
    fn backward_rows<const FMA: bool>(gating: Gating, dy: &[f32], gate_up: &mut [f32], n: usize) {
        match gating {
            Gating::Silu => backward(dy, gate_up, n, |dy, g, u| {
                let s = 1.0 / (1.0 + exp::<FMA>(-g));
                let a = g * s;
                (dy * u * (s + a * (1.0 - s)), dy * a)
            }),
            Gating::GeluTanh => backward(dy, gate_up, n, |dy, g, u| {
                let (h, slope) = gelu(g);
                let e = exp::<FMA>(-h);
                let s = 1.0 / (1.0 + e);
                let a = g * s;
                // `e s` is `1 - s` without its cancellation, which the slope of the cube would magnify.
                (dy * u * (s + a * (e * s) * slope), dy * a)
            }),
            Gating::Clamped { alpha, limit } => backward(dy, gate_up, n, |dy, g, u| {
                let (moves, lets) = (if g < limit { dy } else { 0.0 }, if u.abs() < limit { dy } else { 0.0 });
                let (g, v) = (least(g, limit), most(least(u, limit), -limit) + 1.0);
                let s = 1.0 / (1.0 + exp::<FMA>(-alpha * g));
                let a = g * s;
                (moves * v * (s + a * (1.0 - s) * alpha), lets * a)
            }),
        }
    }
}

#[inline(always)]
fn backward(dy: &[f32], gate_up: &mut [f32], n: usize, slopes: impl Fn(f32, f32, f32) -> (f32, f32)) {
    for (dy, gate_up) in dy.chunks_exact(n).zip(gate_up.chunks_exact_mut(2 * n)) {
        let (g, u) = gate_up.split_at_mut(n);
        for i in 0..n {
            (g[i], u[i]) = slopes(dy[i], g[i], u[i]);
        }
    }
}

/// What GELU takes the sigmoid of, and its slope.
#[inline(always)]
fn gelu(g: f32) -> (f32, f32) {
    let (slope, square) = (GELU_SLOPE as f32, GELU_CUBE as f32 * g * g);
    (slope * g * (1.0 + square), slope * (1.0 + 3.0 * square))
}

/// The lesser of two; `a` if it is NaN.
#[inline(always)]
fn least(a: f32, b: f32) -> f32 {
    if a > b { b } else { a }
}

/// The greater of two; `a` if it is NaN.
#[inline(always)]
fn most(a: f32, b: f32) -> f32 {
    if a < b { b } else { a }
}
