//! Surrogates that look at one token at a time.

use crate::Grpo;
use crate::ratio::{LIMIT, Sloped, importance};

/// SAPO's temperatures: bad answers' tokens are let go of a little sooner than good ones'.
const SAPO: (f64, f64) = (1.0, 1.05);

/// What DPPO's pull towards the policy that sampled weighs, per squared nat.
const DPPO_PULL: f64 = 1e-3;

/// A log-probability below this is taken for this: a token that a policy rules out must not make a batch infinite.
const LEAST: f64 = -700.0;

/// A token's loss before it is weighed, and its derivative with respect to the token's log-probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Term {
    pub(super) value: f64,
    pub(super) slope: f64,
    /// The ratio had already fallen below the range, and the answer was bad.
    pub(super) low: bool,
    /// The ratio had already risen above it, and the answer was good.
    pub(super) high: bool,
}

impl Term {
    fn of(value: f64, slope: f64) -> Self {
        Self { value, slope, low: false, high: false }
    }
}

/// `-min(min(r, dual_clip) A, clip(r, 1 - clip_low, 1 + clip_high) A)`.
pub(super) fn clip(settings: &Grpo, ratio: Sloped, advantage: f64) -> Term {
    let range = (1.0 - settings.clip_low, 1.0 + settings.clip_high);
    let capped = bounded(ratio, f64::NEG_INFINITY, settings.dual_clip.unwrap_or(f64::INFINITY));
    let clipped = bounded(ratio, range.0, range.1);
    let taken = if capped.value * advantage <= clipped.value * advantage { capped } else { clipped };
    Term {
        value: -advantage * taken.value,
        slope: -advantage * taken.slope,
        low: advantage < 0.0 && ratio.value < range.0,
        high: advantage > 0.0 && ratio.value > range.1,
    }
}

fn bounded(ratio: Sloped, low: f64, high: f64) -> Sloped {
    match ratio.value {
        value if value < low => Sloped { value: low, slope: 0.0 },
        value if value > high => Sloped { value: high, slope: 0.0 },
        _ => ratio,
    }
}

/// `-c A log p`, where `c` is the ratio within its bounds and nothing is differentiated through it.
pub(super) fn weighed(ratio: f64, (low, high): (f64, f64), new: f64, advantage: f64) -> Term {
    let weight = ratio.clamp(low, high);
    Term {
        low: advantage < 0.0 && ratio < low,
        high: advantage > 0.0 && ratio > high,
        ..reinforce(new, weight * advantage)
    }
}

/// `-A log p`.
pub(super) fn reinforce(new: f64, advantage: f64) -> Term {
    Term::of(-advantage * new.max(LEAST), if new < LEAST { 0.0 } else { -advantage })
}

/// `-(4 / T) sigmoid(T (r - 1)) A`: a clip without an edge.
pub(super) fn sapo(ratio: Sloped, advantage: f64) -> Term {
    let temperature = if advantage > 0.0 { SAPO.0 } else { SAPO.1 };
    let gate = 1.0 / (1.0 + (-temperature * (ratio.value - 1.0)).exp());
    Term::of(-4.0 / temperature * gate * advantage, -4.0 * gate * (1.0 - gate) * ratio.slope * advantage)
}

/// `-[kept] r A + pull (log r)^2`: a token is kept while its probability has moved by no more than the range.
pub(super) fn dppo(settings: &Grpo, new: f64, old: f64, advantage: f64) -> Term {
    let moved = new.exp() - old.exp();
    let (low, high) = (advantage <= 0.0 && moved < -settings.clip_low, advantage > 0.0 && moved > settings.clip_high);
    let ratio = if low || high { Sloped { value: 0.0, slope: 0.0 } } else { importance(new, old) };
    let log_ratio = new - old;
    let apart = log_ratio.clamp(-LIMIT, LIMIT);
    let pulled = if log_ratio.abs() > LIMIT { 0.0 } else { 2.0 * DPPO_PULL * apart };
    Term {
        value: -advantage * ratio.value + DPPO_PULL * apart * apart,
        slope: -advantage * ratio.slope + pulled,
        low,
        high,
    }
}
