//! A linear head and its selective log-softmax: [`log_prob`] of `x w^T`, with `x[rows, hidden]` and `w[vocab, hidden]`.

use super::linear::{linear, linear_input_gradient, linear_weight_gradient};
use super::log_prob::{LogProb, log_prob, log_prob_backward};

/// Log-probabilities of `targets[rows]` and entropies under `softmax(x w^T / temperature)`.
#[must_use]
pub fn linear_log_prob(x: &[f64], w: &[f64], targets: &[u32], temperature: f64, hidden: usize) -> LogProb {
    let vocab = w.len() / hidden;
    log_prob(&linear(x, w, (targets.len(), hidden, vocab)), targets, temperature, vocab)
}

/// Gradients of `x` and of `w` from those of log-probability and entropy, one entry per row each.
#[must_use]
pub fn linear_log_prob_backward(
    x: &[f64],
    w: &[f64],
    targets: &[u32],
    temperature: f64,
    hidden: usize,
    upstream: (&[f64], &[f64]),
) -> (Vec<f64>, Vec<f64>) {
    let shape @ (_, _, vocab) = (targets.len(), hidden, w.len() / hidden);
    let d_logits = log_prob_backward(&linear(x, w, shape), targets, temperature, vocab, upstream);
    (linear_input_gradient(&d_logits, w, shape), linear_weight_gradient(&d_logits, x, shape))
}

#[cfg(test)]
mod tests {
    use super::super::check::{assert_gradient, numbers};
    use super::*;

    #[test]
    fn a_state_along_a_weight_makes_its_token_likely() {
        // Logits ln 3 and 0: probabilities 3/4 and 1/4.
        let LogProb { log_prob, .. } = linear_log_prob(&[3f64.ln(), 5.0], &[1.0, 0.0, 0.0, 0.0], &[0], 1.0, 2);
        assert!((log_prob[0] - 0.75f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (x, w, targets, upstream) = (numbers(1, 9), numbers(2, 15), [4, 0, 2], numbers(3, 6));
        let found = |x: &[f64], w: &[f64]| {
            let LogProb { log_prob, entropy } = linear_log_prob(x, w, &targets, 0.7, 3);
            [log_prob, entropy].concat()
        };
        let (dx, dw) = linear_log_prob_backward(&x, &w, &targets, 0.7, 3, (&upstream[..3], &upstream[3..]));
        assert_gradient(&x, &upstream, &dx, |x| found(x, &w));
        assert_gradient(&w, &upstream, &dw, |w| found(&x, w));
    }
}
