//! Selective log-softmax: the log-probability of one chosen token per row, and the entropy of the row.
//!
//! For a row of `logits[rows, vocab]`, a temperature `T` and a target `t`: `log p_j = z_j / T - ln sum_l e^(z_l / T)`; the row gives
//! `log p_t` and `H = -sum_j p_j log p_j`, with `0 log 0 = 0`. Backward from their gradients `g` and `h`:
//! `dz_j = (g ([j = t] - p_j) - h p_j (log p_j + H)) / T`.

/// What a forward pass gives, one entry per row, nats.
#[derive(Debug, Clone, PartialEq)]
pub struct LogProb {
    /// Log-probability of the target.
    pub log_prob: Vec<f64>,
    /// Entropy of the row.
    pub entropy: Vec<f64>,
}

/// Log-probabilities of `targets[rows]` and entropies under `softmax(logits[rows, vocab] / temperature)`.
#[must_use]
pub fn log_prob(logits: &[f64], targets: &[u32], temperature: f64, vocab: usize) -> LogProb {
    let rows = logits.chunks_exact(vocab).map(|row| log_softmax(row, temperature));
    let (log_prob, entropy) = rows.zip(targets).map(|(row, t)| (row[*t as usize], entropy(&row))).unzip();
    LogProb { log_prob, entropy }
}

/// `d_logits[rows, vocab]` from the gradients of log-probability and entropy, one entry per row each.
#[must_use]
pub fn log_prob_backward(
    logits: &[f64],
    targets: &[u32],
    temperature: f64,
    vocab: usize,
    (d_log_prob, d_entropy): (&[f64], &[f64]),
) -> Vec<f64> {
    let mut d_logits = Vec::with_capacity(logits.len());
    for (i, row) in logits.chunks_exact(vocab).enumerate() {
        let log_p = log_softmax(row, temperature);
        let entropy = entropy(&log_p);
        for (j, log_p) in log_p.iter().enumerate() {
            let p = log_p.exp();
            let chosen = f64::from(u8::from(j == targets[i] as usize));
            let spread = if p > 0.0 { p * (log_p + entropy) } else { 0.0 };
            d_logits.push((d_log_prob[i] * (chosen - p) - d_entropy[i] * spread) / temperature);
        }
    }
    d_logits
}

fn log_softmax(row: &[f64], temperature: f64) -> Vec<f64> {
    // Shifted by the largest, so that no exponential overflows.
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shifted = row.iter().map(|z| (z - largest) / temperature);
    let log_sum = shifted.clone().map(f64::exp).sum::<f64>().ln();
    shifted.map(|z| z - log_sum).collect()
}

fn entropy(log_p: &[f64]) -> f64 {
    -log_p.iter().filter(|log_p| log_p.exp() > 0.0).map(|log_p| log_p.exp() * log_p).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::super::check::{assert_gradient, numbers};
    use super::*;

    #[test]
    fn equal_logits_are_a_uniform_distribution() {
        let LogProb { log_prob, entropy } = log_prob(&[3.0; 4], &[2], 1.0, 4);
        assert!((log_prob[0] + 4f64.ln()).abs() < 1e-12 && (entropy[0] - 4f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn logits_are_divided_by_the_temperature() {
        // ln 9 / 2 = ln 3: probabilities 3/4 and 1/4
        let LogProb { log_prob, entropy } = log_prob(&[9f64.ln(), 0.0], &[1], 2.0, 2);
        assert!((log_prob[0] - 0.25f64.ln()).abs() < 1e-12);
        assert!((entropy[0] - (-0.75 * 0.75f64.ln() - 0.25 * 0.25f64.ln())).abs() < 1e-12);
    }

    #[test]
    fn an_impossible_token_neither_adds_entropy_nor_gets_a_gradient() {
        let (logits, targets) = ([0.0, f64::NEG_INFINITY, 1e4], [0]);
        assert_eq!(log_prob(&logits, &targets, 1.0, 3), LogProb { log_prob: vec![-1e4], entropy: vec![0.0] });
        assert_eq!(log_prob_backward(&logits, &targets, 1.0, 3, (&[1.0], &[1.0])), [1.0, 0.0, -1.0]);
    }

    #[test]
    fn the_gradient_agrees_with_finite_differences() {
        let (logits, targets, upstream) = (numbers(1, 15), [4, 0, 2], numbers(2, 6));
        let gradient = log_prob_backward(&logits, &targets, 0.7, 5, (&upstream[..3], &upstream[3..]));
        assert_gradient(&logits, &upstream, &gradient, |logits| {
            let LogProb { log_prob, entropy } = log_prob(logits, &targets, 0.7, 5);
            [log_prob, entropy].concat()
        });
    }
}
