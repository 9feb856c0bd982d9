//! AdamW (Loshchilov & Hutter, arXiv:1711.05101), fused and in place.

use rayon::prelude::*;

use super::simd::multiversion;

const CHUNK: usize = 1 << 14;

/// Constants of one update.
#[derive(Debug, Clone, Copy)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f32,
    /// Decay of the gradient average.
    pub beta1: f32,
    /// Decay of the squared-gradient average.
    pub beta2: f32,
    /// Keeps the division finite.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Updates made with this state, this one included; from 1.
    pub step: u64,
}

/// Updates `parameter` and its two averages from `gradient * scale`.
pub fn adamw(parameter: &mut [f32], gradient: &[f32], scale: f32, m: &mut [f32], v: &mut [f32], with: AdamW) {
    assert!(parameter.len() == gradient.len() && m.len() == v.len() && m.len() == gradient.len(), "adamw shapes");
    let correction = |beta: f32| (1.0 / (1.0 - f64::from(beta).powf(with.step as f64))) as f32;
    let corrections = (correction(with.beta1), correction(with.beta2));
    let state = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
    let chunks = parameter.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).zip(state);
    chunks.for_each(|((p, g), (m, v))| update(p, g, scale, m, v, with, corrections));
}

multiversion! {
    fn update(p: &mut [f32], g: &[f32], scale: f32, m: &mut [f32], v: &mut [f32], a: AdamW, corrections: (f32, f32)) {
        let n = p.len();
        let (g, m, v) = (&g[..n], &mut m[..n], &mut v[..n]);
        for i in 0..n {
            let g = g[i] * scale;
            m[i] = a.beta1 * m[i] + (1.0 - a.beta1) * g;
            v[i] = a.beta2 * v[i] + (1.0 - a.beta2) * g * g;
            let step = m[i] * corrections.0 / ((v[i] * corrections.1).sqrt() + a.epsilon);
            p[i] = p[i] * (1.0 - a.lr * a.weight_decay) - a.lr * step;
        }
    }
}

/// The sum of squares, in f64 and in a fixed order.
#[must_use]
pub fn sum_of_squares(x: &[f32]) -> f64 {
    let parts: Vec<f64> = x.par_chunks(CHUNK).map(|x| x.iter().map(|&x| f64::from(x) * f64::from(x)).sum()).collect();
    parts.iter().sum()
}
