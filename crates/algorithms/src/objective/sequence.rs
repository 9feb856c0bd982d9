//! Surrogates that look at a whole answer at once.

use super::token::{clip, reinforce};
use super::{Evaluation, Sequence};
use crate::Grpo;
use crate::ratio::{LIMIT, Sloped};

/// VESPO's exponent and decay, for good answers and for bad ones.
const VESPO: ((f64, f64), (f64, f64)) = ((2.0, 3.0), (3.0, 2.0));
/// Range of the logarithm of VESPO's ratio: 1e-8 to exp(20).
const VESPO_RANGE: (f64, f64) = (-18.420_680_743_952_367, LIMIT);

/// The sampled tokens' log-ratios, each within ±20 nats, and how many there are.
fn log_ratios<'a>(sequence: &'a Sequence<'_>) -> impl Iterator<Item = (usize, f64)> + 'a {
    sequence.sampled_at().map(|t| (t, sequence.new[t] - sequence.old[t]))
}

fn within(log_ratio: f64) -> f64 {
    log_ratio.clamp(-LIMIT, LIMIT)
}

/// The geometric mean of the tokens' ratios, clipped like a token's: GSPO. With `apart`, each token's slope is its own: GSPO-token.
pub(super) fn gspo(
    settings: &Grpo,
    sequence: &Sequence<'_>,
    pushes: &[f64],
    apart: bool,
    d_new: &mut [f64],
) -> Evaluation {
    let count = sequence.sampled() as f64;
    let mean = log_ratios(sequence).map(|(_, log_ratio)| within(log_ratio)).sum::<f64>() / count.max(1.0);
    let ratio = Sloped { value: mean.exp(), slope: mean.exp() };
    let (mut sum, mut slope) = (Evaluation::default(), 0.0);
    for t in sequence.sampled_at() {
        let term = clip(settings, ratio, sequence.advantages[t]);
        sum.count(ratio.value, &term);
        sum.loss += pushes[t] * term.value;
        slope += pushes[t] * term.slope;
        d_new[t] = pushes[t] * term.slope;
    }
    if !apart {
        for (t, log_ratio) in log_ratios(sequence) {
            d_new[t] = if log_ratio.abs() > LIMIT { 0.0 } else { slope / count };
        }
    }
    sum
}

/// The geometric mean of ratios that are clipped one by one, against their advantage only: GMPO.
pub(super) fn gmpo(settings: &Grpo, sequence: &Sequence<'_>, pushes: &[f64], d_new: &mut [f64]) -> Evaluation {
    let count = (sequence.sampled() as f64).max(1.0);
    let advantage = sequence.sampled_at().map(|t| sequence.advantages[t]).sum::<f64>() / count;
    let weight: f64 = sequence.sampled_at().map(|t| pushes[t]).sum();
    let mut sum = Evaluation::default();
    let mut mean = 0.0;
    for (t, log_ratio) in log_ratios(sequence) {
        let high = advantage > 0.0 && log_ratio > settings.clip_high;
        let low = advantage < 0.0 && log_ratio < -settings.clip_low;
        mean += match (low, high) {
            (true, _) => -settings.clip_low,
            (_, true) => settings.clip_high,
            (false, false) => within(log_ratio),
        } / count;
        sum.clipped_low += usize::from(low);
        sum.clipped_high += usize::from(high);
        sum.ratio_sum += within(log_ratio).exp();
        sum.tokens += 1;
        d_new[t] = if low || high || log_ratio.abs() > LIMIT { 0.0 } else { 1.0 / count };
    }
    sum.loss = -weight * advantage * mean.exp();
    sequence.sampled_at().for_each(|t| d_new[t] *= sum.loss);
    sum
}

/// `-phi(w) A log p`, where `w` is the whole answer's ratio and `phi` is largest at a ratio of its own choosing: VESPO.
pub(super) fn vespo(sequence: &Sequence<'_>, pushes: &[f64], d_new: &mut [f64]) -> Evaluation {
    let log_ratio: f64 = log_ratios(sequence).map(|(_, log_ratio)| within(log_ratio)).sum();
    let log_ratio = log_ratio.clamp(VESPO_RANGE.0, VESPO_RANGE.1);
    let mut sum = Evaluation::default();
    for t in sequence.sampled_at() {
        let advantage = sequence.advantages[t];
        let (exponent, decay) = if advantage >= 0.0 { VESPO.0 } else { VESPO.1 };
        let phi = (decay + exponent * log_ratio - decay * log_ratio.exp()).exp();
        let term = reinforce(sequence.new[t], phi * advantage);
        sum.count(log_ratio.exp(), &term);
        sum.loss += pushes[t] * term.value;
        d_new[t] = pushes[t] * term.slope;
    }
    sum
}
