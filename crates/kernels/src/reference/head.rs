//! A linear head and its selective log-softmax: [`log_prob`] of `x w^T`, with `x[rows, hidden]` and `w[vocab, hidden]`.

use super::linear::{linear, linear_input_gradient, linear_weight_gradient};
use super::log_prob::{LogProb, log_prob, log_prob_backward};

/// What is asked of the product: its shape, and what becomes of the logits.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Targets `[rows]`.
    pub targets: &'a [u32],
    /// Logits are divided by it.
    pub temperature: f64,
    /// Width of a state.
    pub hidden: usize,
    /// Before that, logits `z` become `cap tanh(z / cap)`.
    pub soft_cap: Option<f64>,
}

impl Head<'_> {
    fn logits(&self, x: &[f64], w: &[f64]) -> Vec<f64> {
        let logits = linear(x, w, (self.targets.len(), self.hidden, w.len() / self.hidden));
        let capped = |z: f64| self.soft_cap.map_or(z, |cap| cap * (z / cap).tanh());
        logits.into_iter().map(capped).collect()
    }
}

/// Log-probabilities of `targets[rows]` and entropies under `softmax(x w^T / temperature)`.
#[must_use]
pub fn linear_log_prob(head: Head<'_>, x: &[f64], w: &[f64]) -> LogProb {
    log_prob(&head.logits(x, w), head.targets, head.temperature, w.len() / head.hidden)
}

/// Gradients of `x` and of `w` from those of log-probability and entropy, one entry per row each.
#[must_use]
pub fn linear_log_prob_backward(
    head: Head<'_>,
    x: &[f64],
    w: &[f64],
    upstream: (&[f64], &[f64]),
) -> (Vec<f64>, Vec<f64>) {
    let shape @ (_, _, vocab) = (head.targets.len(), head.hidden, w.len() / head.hidden);
    let logits = head.logits(x, w);
    let mut d_logits = log_prob_backward(&logits, head.targets, head.temperature, vocab, upstream);
    if let Some(cap) = head.soft_cap {
        d_logits.iter_mut().zip(&logits).for_each(|(d, z)| *d *= 1.0 - (z / cap).powi(2));
    }
    (linear_input_gradient(&d_logits, w, shape), linear_weight_gradient(&d_logits, x, shape))
}

#[cfg(test)]
mod tests {
    use super::super::check::{assert_gradient, numbers};
    use super::*;

    fn of(targets: &[u32], temperature: f64, hidden: usize, soft_cap: Option<f64>) -> Head<'_> {
        Head { targets, temperature, hidden, soft_cap }
    }

    #[test]
    fn a_state_along_a_weight_makes_its_token_likely() {
        // Logits ln 3 and 0: probabilities 3/4 and 1/4.
        let LogProb { log_prob, .. } =
            linear_log_prob(of(&[0], 1.0, 2, None), &[3f64.ln(), 5.0], &[1.0, 0.0, 0.0, 0.0]);
        assert!((log_prob[0] - 0.75f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (x, w, targets, upstream) = (numbers(1, 9), numbers(2, 15), [4, 0, 2], numbers(3, 6));
        for soft_cap in [None, Some(0.6)] {
            let head = of(&targets, 0.7, 3, soft_cap);
            let found = |x: &[f64], w: &[f64]| {
                let LogProb { log_prob, entropy } = linear_log_prob(head, x, w);
                [log_prob, entropy].concat()
            };
            let (dx, dw) = linear_log_prob_backward(head, &x, &w, (&upstream[..3], &upstream[3..]));
            assert_gradient(&x, &upstream, &dx, |x| found(x, &w));
            assert_gradient(&w, &upstream, &dw, |w| found(&x, w));
        }
    }
}
