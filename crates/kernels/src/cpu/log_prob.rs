//! Selective log-softmax: the log-probability of one chosen token per row and the entropy of the row, in one pass over the logits.
//!
//! Backward, with `p = softmax(z / T)`, `H` the entropy, `t` the target: `dz = (g_lp (1[j = t] - p) - g_H p (log p + H)) / T`.

use rayon::prelude::*;

use super::simd::{LANES, exp, max, multiversion, sum_lanes};

const ROWS: usize = 16;

/// Below it a probability is 0 for every purpose, but a finite 0: `0 * ln 0` must come out as 0 for an impossible token.
const LEAST: f32 = -100.0;

/// What the forward pass found for each row.
#[derive(Debug, Clone, PartialEq)]
pub struct LogProb {
    /// Log-probability of the target, nats.
    pub log_prob: Vec<f32>,
    /// Entropy of the row, nats.
    pub entropy: Vec<f32>,
    /// Largest logit of the row. Kept apart from `log_sum`, for the backward pass: near 1e4 their sum is rounded to 1e-3 nats.
    pub largest: Vec<f32>,
    /// Log-sum-exp of the scaled row after `largest` was subtracted.
    pub log_sum: Vec<f32>,
}

/// Log-probabilities of `targets[rows]` and entropies under `softmax(logits[rows, vocab] / temperature)`.
///
/// # Panics
/// If a target is not below `vocab`.
#[must_use]
pub fn log_prob(logits: &[f32], targets: &[u32], temperature: f32, vocab: usize) -> LogProb {
    let rows = targets.len();
    assert_eq!(logits.len(), rows * vocab, "log_prob shapes");
    let zeros = || vec![0.0; rows];
    let mut result = LogProb { log_prob: zeros(), entropy: zeros(), largest: zeros(), log_sum: zeros() };
    let outputs = result.log_prob.par_chunks_mut(ROWS).zip(result.entropy.par_chunks_mut(ROWS));
    let saved = result.largest.par_chunks_mut(ROWS).zip(result.log_sum.par_chunks_mut(ROWS));
    let inputs = logits.par_chunks(ROWS * vocab).zip(targets.par_chunks(ROWS));
    inputs.zip(outputs.zip(saved)).for_each(|((logits, targets), ((log_prob, entropy), (largest, log_sum)))| {
        forward_rows(logits, targets, 1.0 / temperature, vocab, log_prob, entropy, largest, log_sum);
    });
    result
}

multiversion! {
    fn forward_rows(
        logits: &[f32], targets: &[u32], scale: f32, vocab: usize, log_prob: &mut [f32], entropy: &mut [f32],
        largests: &mut [f32], log_sums: &mut [f32],
    ) {
        for (i, row) in logits.chunks_exact(vocab).enumerate() {
            let largest = max(row);
            let (mut sums, mut moments) = ([0f32; LANES], [0f32; LANES]);
            let chunks = row.chunks_exact(LANES);
            let (mut sum, mut moment) = (0.0, 0.0);
            for &z in chunks.remainder() {
                let shifted = (z - largest) * scale;
                sum += exp(shifted);
                moment += exp(shifted) * shifted.max(LEAST);
            }
            for chunk in chunks {
                for j in 0..LANES {
                    let shifted = (chunk[j] - largest) * scale;
                    let e = exp(shifted);
                    sums[j] += e;
                    moments[j] += e * shifted.max(LEAST);
                }
            }
            sum += sum_lanes(&sums);
            moment += sum_lanes(&moments);
            let log_sum = sum.ln();
            (largests[i], log_sums[i]) = (largest, log_sum);
            log_prob[i] = (row[targets[i] as usize] - largest) * scale - log_sum;
            entropy[i] = log_sum - moment / sum;
        }
    }
}

/// `d_logits[rows, vocab]` from the gradients of log-probability and entropy, and what [`log_prob`] found.
pub fn log_prob_backward(
    logits: &[f32],
    targets: &[u32],
    temperature: f32,
    forward: &LogProb,
    (d_log_prob, d_entropy): (&[f32], &[f32]),
    d_logits: &mut [f32],
) {
    let rows = targets.len();
    if rows == 0 {
        return;
    }
    let vocab = logits.len() / rows;
    assert!(logits.len() == rows * vocab && d_logits.len() == logits.len(), "log_prob shapes");
    d_logits.par_chunks_mut(ROWS * vocab).enumerate().for_each(|(chunk, d_logits)| {
        let first = chunk * ROWS;
        let count = d_logits.len() / vocab;
        let of = |values: &'_ [f32]| -> Vec<f32> { values[first..first + count].to_vec() };
        let LogProb { largest, log_sum, entropy, .. } = forward;
        let saved = [of(largest), of(log_sum), of(entropy), of(d_log_prob), of(d_entropy)];
        let logits = &logits[first * vocab..][..count * vocab];
        backward_rows(logits, &targets[first..first + count], 1.0 / temperature, vocab, &saved, d_logits);
    });
}

multiversion! {
    fn backward_rows(
        logits: &[f32], targets: &[u32], scale: f32, vocab: usize, saved: &[Vec<f32>; 5], d_logits: &mut [f32],
    ) {
        let [largest, log_sum, entropy, d_log_prob, d_entropy] = saved;
        for (i, (row, d)) in logits.chunks_exact(vocab).zip(d_logits.chunks_exact_mut(vocab)).enumerate() {
            let (g, h) = (d_log_prob[i] * scale, d_entropy[i] * scale);
            for (d, &z) in d.iter_mut().zip(row) {
                let log_p = ((z - largest[i]) * scale - log_sum[i]).max(LEAST);
                *d = -exp(log_p) * (g + h * (log_p + entropy[i]));
            }
            d[targets[i] as usize] += g;
        }
    }
}
