//! PPO's clipped objective (arXiv:1707.06347; dual clip, arXiv:1912.09729) with a KL term, for one token.
//!
//! ```text
//! loss = push (-min(min(r, dual_clip) A, clip(r, 1 - low, 1 + high) A)) + weight kl_coef kl(new, reference)      r = e^(new - old)
//! ```
//!
//! Log-ratios are clamped to ±20 nats, and flat beyond. With `d = new - reference`, KL is estimated as `d` (k1), `d^2 / 2` (k2) or
//! `e^-d + d - 1` (k3; Schulman 2020, "Approximating KL Divergence").

const LIMIT: f64 = 20.0;

/// How KL(policy, reference) is estimated at a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kl {
    /// The log-ratio.
    K1,
    /// Half its square.
    K2,
    /// The log-ratio and what keeps it from being negative.
    K3,
}

/// The objective's constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clipping {
    /// The ratio is clipped below `1 - low`.
    pub low: f64,
    /// The ratio is clipped above `1 + high`.
    pub high: f64,
    /// What the ratio of a bad answer's token counts at the most.
    pub dual_clip: Option<f64>,
    /// Which estimate is in the loss.
    pub kl: Kl,
    /// What a nat of KL costs.
    pub kl_coef: f64,
}

/// One sampled token; log-probabilities in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Token {
    /// Under the policy being trained.
    pub new: f64,
    /// Under the policy that sampled.
    pub old: f64,
    /// Under the policy not to stray from.
    pub reference: Option<f64>,
    /// Its credit.
    pub advantage: f64,
    /// What its push weighs in the loss.
    pub push: f64,
    /// What its KL weighs.
    pub weight: f64,
}

/// What a token, or all of them, come to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Evaluation {
    /// The derivative of the loss with respect to `new`.
    pub slope: f64,
    /// The loss; whether the ratio was clipped below, and above; the ratio; k3 to the reference, and from the old policy; and 1.
    pub sums: [f64; 7],
}

/// The loss of a token, its slope, and what is reported about it.
#[must_use]
pub fn clipped_objective(token: Token, with: Clipping) -> Evaluation {
    let Token { new, old, reference, advantage, push, weight } = token;
    let (low, high) = (1.0 - with.low, 1.0 + with.high);
    let ratio = (new - old).clamp(-LIMIT, LIMIT).exp();
    let ratio_slope = if (new - old).abs() > LIMIT { 0.0 } else { ratio };
    let capped = ratio.min(with.dual_clip.unwrap_or(f64::INFINITY));
    let clipped = ratio.clamp(low, high);
    let taken = if capped * advantage <= clipped * advantage { capped } else { clipped };
    let slope = if taken == ratio { ratio_slope } else { 0.0 };
    let mut sums = [-push * advantage * taken, 0.0, 0.0, ratio, 0.0, k3(old, new).0, 1.0];
    sums[1] = f64::from(u8::from(advantage < 0.0 && ratio < low));
    sums[2] = f64::from(u8::from(advantage > 0.0 && ratio > high));
    let mut slope = -push * advantage * slope;
    if let Some(reference) = reference {
        let (value, kl_slope) = estimate(with.kl, new, reference);
        sums[0] += weight * with.kl_coef * value;
        sums[4] = k3(new, reference).0;
        slope += weight * with.kl_coef * kl_slope;
    }
    Evaluation { slope, sums }
}

/// The estimate of KL(new, reference) in nats, and its derivative with respect to `new`.
fn estimate(kl: Kl, new: f64, reference: f64) -> (f64, f64) {
    let d = (new - reference).clamp(-LIMIT, LIMIT);
    let inside = f64::from(u8::from((new - reference).abs() <= LIMIT));
    match kl {
        Kl::K1 => (d, inside),
        Kl::K2 => (0.5 * d * d, d * inside),
        Kl::K3 => k3(new, reference),
    }
}

fn k3(new: f64, reference: f64) -> (f64, f64) {
    let x = (reference - new).clamp(-LIMIT, LIMIT);
    let inside = f64::from(u8::from((reference - new).abs() <= LIMIT));
    (x.exp_m1() - x, -x.exp_m1() * inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITH: Clipping = Clipping { low: 0.2, high: 0.3, dual_clip: Some(3.0), kl: Kl::K3, kl_coef: 0.1 };

    fn token(ratio: f64, advantage: f64) -> Token {
        Token { new: ratio.ln() - 1.0, old: -1.0, reference: None, advantage, push: 2.0, weight: 2.0 }
    }

    #[test]
    fn a_ratio_that_went_where_its_advantage_pushes_is_pushed_no_further() {
        for (ratio, advantage, loss, slope) in [
            (1.1, 1.0, -2.2, -2.2),
            (1.5, 1.0, -2.6, 0.0),
            (0.5, 1.0, -1.0, -1.0),
            (0.5, -1.0, 1.6, 0.0),
            (1.5, -1.0, 3.0, 3.0),
            (5.0, -1.0, 6.0, 0.0),
        ] {
            let found = clipped_objective(token(ratio, advantage), WITH);
            assert!((found.sums[0] - loss).abs() < 1e-12 && (found.slope - slope).abs() < 1e-12, "{ratio}: {found:?}");
        }
    }

    #[test]
    fn slopes_agree_with_finite_differences() {
        const STEP: f64 = 1e-6;
        for kl in [Kl::K1, Kl::K2, Kl::K3] {
            for (i, advantage) in [-1.5, -0.5, 0.5, 1.5].into_iter().enumerate() {
                let ratio = [0.6, 0.9, 1.25, 2.0][i];
                let it = Token { reference: Some(-1.3), ..token(ratio, advantage) };
                let at = |shift: f64| clipped_objective(Token { new: it.new + shift, ..it }, Clipping { kl, ..WITH });
                let numeric = (at(STEP).sums[0] - at(-STEP).sums[0]) / (2.0 * STEP);
                assert!(
                    (at(0.0).slope - numeric).abs() < 1e-8,
                    "{kl:?} at {ratio}: {} is not {numeric}",
                    at(0.0).slope
                );
            }
        }
    }

    #[test]
    fn a_token_that_either_policy_rules_out_is_far_away_and_flat() {
        for (new, other) in [(f64::NEG_INFINITY, -1.0), (-1.0, f64::NEG_INFINITY)] {
            let it = Token { new, old: other, reference: Some(other), ..token(1.0, -1.0) };
            let found = clipped_objective(it, WITH);
            assert!(found.slope == 0.0 && found.sums.iter().all(|sum| sum.is_finite()), "{found:?}");
        }
    }
}
