//! How far a policy has strayed from a reference, token by token; and how hard to pull it back.
//!
//! All three estimates have KL(new, reference) as their mean over tokens sampled from `new` (k2 nearly); they differ in variance, and in
//! what their slopes do when they are part of a loss (Schulman 2020, "Approximating KL Divergence"). With `d = new - reference`:
//!
//! | Variant | Value            | Slope         | As part of a loss                                                      |
//! |---------|------------------|---------------|------------------------------------------------------------------------|
//! | `k1`    | `d`              | 1             | pulls nowhere on the average: for rewards, not for losses                |
//! | `k2`    | `d^2 / 2`        | `d`           | the slope of the true KL, on the average                                 |
//! | `k3`    | `exp(-d) + d - 1`| `1 - exp(-d)` | never negative, little variance; the usual choice                        |
//!
//! Differences are clamped to ±20 nats, and flat beyond.

use serde::{Deserialize, Serialize};

use crate::ratio::{LIMIT, Sloped, k3};

/// How KL(policy, reference) is estimated at a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// The log-ratio.
    K1,
    /// Half its square.
    K2,
    /// The log-ratio and what keeps it from being negative.
    #[default]
    K3,
}

/// Where a policy pays for its distance from the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlIn {
    /// In the loss: each token is pulled back by itself.
    #[default]
    Loss,
    /// In the reward, before it is compared with others: what strayed has to be worth it.
    Reward,
}

impl KlEstimator {
    /// The estimate at a token, nats.
    #[must_use]
    pub fn value(self, new: f64, reference: f64) -> f64 {
        self.estimate(new, reference).value
    }

    /// The estimate in nats, and its derivative with respect to `new`.
    pub(crate) fn estimate(self, new: f64, reference: f64) -> Sloped {
        let difference = new - reference;
        let flat = difference.abs() > LIMIT;
        let d = difference.clamp(-LIMIT, LIMIT);
        match self {
            Self::K1 => Sloped { value: d, slope: if flat { 0.0 } else { 1.0 } },
            Self::K2 => Sloped { value: 0.5 * d * d, slope: if flat { 0.0 } else { d } },
            Self::K3 => k3(new, reference),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [KlEstimator; 3] = [KlEstimator::K1, KlEstimator::K2, KlEstimator::K3];

    #[test]
    fn the_estimates_of_five_tokens() {
        let new = [-1.0, -0.5, -2.0, -0.7, -1.2];
        let reference = [-1.1, -0.6, -1.8, -0.8, -1.3];
        for (estimator, expected) in ALL.into_iter().zip([0.040000, 0.008000, 0.008150]) {
            let mean = new.iter().zip(reference).map(|(new, it)| estimator.estimate(*new, it).value).sum::<f64>() / 5.0;
            assert!((mean - expected).abs() < 5e-7, "{estimator:?}: {mean}");
        }
    }

    #[test]
    fn a_policy_that_is_its_reference_is_not_apart_from_it_and_only_k1_has_a_slope_there() {
        let slopes = ALL.map(|estimator| {
            let Sloped { value, slope } = estimator.estimate(-1.5, -1.5);
            assert_eq!(value, 0.0);
            slope.abs()
        });
        assert_eq!(slopes, [1.0, 0.0, 0.0]);
    }

    #[test]
    fn a_token_that_either_rules_out_is_far_away_and_flat() {
        for (new, reference) in [(f64::NEG_INFINITY, -1.0), (-1.0, f64::NEG_INFINITY)] {
            for estimator in ALL {
                let Sloped { value, slope } = estimator.estimate(new, reference);
                assert!(value.is_finite() && slope == 0.0, "{estimator:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn slopes_are_derivatives(new in -30.0..0.0f64, reference in -30.0..0.0f64) {
            const STEP: f64 = 1e-6;
            prop_assume!(((new - reference).abs() - LIMIT).abs() > 1e-3);
            for estimator in ALL {
                let at = |shift: f64| estimator.estimate(new + shift, reference);
                let numeric = (at(STEP).value - at(-STEP).value) / (2.0 * STEP);
                prop_assert!((at(0.0).slope - numeric).abs() <= 1e-7 * at(0.0).value.abs().max(1.0));
            }
        }
    }
}
