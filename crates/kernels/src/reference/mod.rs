//! The definitions: what each operation means, in f64 and plain loops.
//!
//! Slow on purpose: nothing here is cleverer than its formula. Every backward is checked by finite differences of its forward, and
//! every kernel against the definition of the same name.
//!
//! Arrays are row-major, shapes stand in brackets. Log-probabilities and entropies are in nats.

mod adamw;
mod advantage;
mod attention;
mod gate;
mod head;
mod linear;
mod log_prob;
mod norm;
mod objective;
mod rope;
mod route;
mod sample;

pub use adamw::{AdamW, adamw};
pub use advantage::{Baseline, gae, group_advantages};
pub use attention::{Packed, attention, attention_backward};
pub use gate::{gate, gate_backward};
pub use head::{Head, linear_log_prob, linear_log_prob_backward};
pub use linear::{linear, linear_input_gradient, linear_weight_gradient};
pub use log_prob::{LogProb, log_prob, log_prob_backward};
pub use norm::{rms_norm, rms_norm_backward};
pub use objective::{Clipping, Evaluation, Kl, Token, clipped_objective};
pub use rope::rotate;
pub use route::route;
pub use sample::{Filters, distribution, draw};

#[cfg(test)]
pub(crate) use check::numbers;

#[cfg(test)]
mod check {
    //! Finite differences.

    /// `n` numbers in `(-1, 1)` that look random and are always the same.
    pub(crate) fn numbers(seed: usize, n: usize) -> Vec<f64> {
        (0..n).map(|i| (((seed * 1009 + i) as f64 + 0.5) * 12.9898).sin() * 43_758.545_3 % 1.0).collect()
    }

    /// Asserts that `gradient` is that of `<upstream, f(x)>` with respect to `x`.
    pub(crate) fn assert_gradient(x: &[f64], upstream: &[f64], gradient: &[f64], f: impl Fn(&[f64]) -> Vec<f64>) {
        const STEP: f64 = 1e-5;
        assert_eq!(x.len(), gradient.len());
        let value = |i: usize, shift: f64| -> f64 {
            let mut moved = x.to_vec();
            moved[i] += shift;
            f(&moved).iter().zip(upstream).map(|(y, up)| y * up).sum()
        };
        for (i, slope) in gradient.iter().enumerate() {
            let numeric = (value(i, STEP) - value(i, -STEP)) / (2.0 * STEP);
            assert!((slope - numeric).abs() < 1e-7, "entry {i}: {slope} is not {numeric}");
        }
    }
}
