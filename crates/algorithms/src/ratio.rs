//! Exponentials of log-probability differences, with their slopes.
//!
//! Log-ratios are clamped to ±[`LIMIT`] nats before `exp`, as verl does, so that one token of which two policies disagree wildly (or
//! which one of them rules out: an infinite difference) cannot make a batch infinite. The slope is that of the clamped function, 0
//! outside: what is minimised and what is differentiated are the same thing. A difference of two infinities is NaN and stays NaN.

/// Largest log-ratio taken at face value, nats. `exp(20)` is 4.9e8.
pub(crate) const LIMIT: f64 = 20.0;

/// A function of a log-ratio, and its derivative there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sloped {
    pub(crate) value: f64,
    pub(crate) slope: f64,
}

/// The probability ratio `exp(new - old)` and its derivative with respect to `new`.
pub(crate) fn importance(new: f64, old: f64) -> Sloped {
    let log_ratio = new - old;
    let value = log_ratio.clamp(-LIMIT, LIMIT).exp();
    Sloped { value, slope: if log_ratio.abs() > LIMIT { 0.0 } else { value } }
}

/// The k3 estimate of `KL(new || reference)`, `exp(x) - x - 1` with `x = reference - new`, nats, and its derivative with respect to
/// `new`. Unbiased over tokens sampled from `new`, and never negative (Schulman 2020, "Approximating KL Divergence").
pub(crate) fn k3(new: f64, reference: f64) -> Sloped {
    let log_ratio = reference - new;
    let x = log_ratio.clamp(-LIMIT, LIMIT);
    // exp_m1: for nearby policies the difference of exp(x) and 1 is where all the digits are.
    let excess = x.exp_m1();
    Sloped { value: excess - x, slope: if log_ratio.abs() > LIMIT { 0.0 } else { -excess } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn extreme_and_infinite_differences_stay_finite_and_flat() {
        for f in [importance, k3] {
            for (a, b) in [(-1.0, -500.0), (-500.0, -1.0), (f64::NEG_INFINITY, -1.0), (-1.0, f64::NEG_INFINITY)] {
                let Sloped { value, slope } = f(a, b);
                assert!(value.is_finite() && value >= 0.0, "{value} at {a}, {b}");
                assert_eq!(slope, 0.0);
            }
        }
    }

    #[test]
    fn k3_of_a_policy_with_itself_is_zero_and_flat() {
        let Sloped { value, slope } = k3(-1.5, -1.5);
        assert_eq!((value, slope.abs()), (0.0, 0.0));
    }

    proptest! {
        #[test]
        fn slopes_are_those_of_the_clamped_functions(new in -30.0..0.0f64, other in -30.0..0.0f64) {
            const STEP: f64 = 1e-6;
            prop_assume!(((new - other).abs() - LIMIT).abs() > 1e-3);
            for f in [importance, k3] {
                let Sloped { value, slope } = f(new, other);
                let numeric = (f(new + STEP, other).value - f(new - STEP, other).value) / (2.0 * STEP);
                prop_assert!((slope - numeric).abs() <= 1e-7 * value.max(1.0), "{} is not {}", slope, numeric);
            }
        }

        #[test]
        fn k3_is_never_negative(new in -50.0..0.0f64, reference in -50.0..0.0f64) {
            prop_assert!(k3(new, reference).value >= 0.0);
        }
    }
}
