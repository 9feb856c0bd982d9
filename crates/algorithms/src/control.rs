//! Coefficients that follow what the policy does: after each optimizer step they are moved towards a target.
//!
//! A weight of the KL term that suits the beginning of a run seldom suits its end. Under control the weight rises while the policy is
//! further from the reference than wanted, and falls while it is nearer (Ziegler et al., arXiv:1909.08593 §2.2; verl's `adaptive`):
//!
//! ```text
//! scale <- scale (1 + clip(kl / target - 1, -0.2, 0.2) episodes / horizon)
//! ```
//!
//! What is moved is a factor on the configured weight, so that whoever sets another weight in the middle of a run sets the base of what is
//! adapted, however often he says so.
//!
//! A bonus for entropy keeps a policy from settling too soon, and would keep it from ever settling. Under control it is paid only after a
//! step whose mean entropy was no higher than wanted, and grows by a constant after every such step, to shrink by as much after every other
//! (Skywork-OR1, arXiv:2505.22312; TRL's `use_adaptive_entropy`).

use serde::{Deserialize, Serialize};

/// The furthest that one step's KL counts as being off its target, as a share of that.
const FURTHEST: f64 = 0.2;

/// How the weight of the KL term follows the KL.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KlControl {
    /// The KL(policy, reference) to keep, nats per token.
    pub target: f64,
    /// Over how many episodes the weight may change by a fifth.
    pub horizon: f64,
}

impl KlControl {
    /// What the weight is to be multiplied by after a step of so many `episodes` that found `kl`.
    #[must_use]
    pub fn after(&self, scale: f64, kl: f64, episodes: usize) -> f64 {
        let off = (kl / self.target - 1.0).clamp(-FURTHEST, FURTHEST);
        // A batch of more episodes than five horizons would turn the weight round.
        scale * (1.0 + off * episodes as f64 / self.horizon).max(0.0)
    }
}

/// How the bonus for entropy follows the entropy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EntropyControl {
    /// The mean entropy to keep, nats.
    pub target: f64,
    /// By how much one step changes what a nat earns.
    pub delta: f64,
    /// The least that it earns.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl EntropyControl {
    /// What a nat earns in a step, if `coef` is what it would, given the last step's entropy.
    #[must_use]
    pub fn paid(&self, coef: f64, last: Option<f64>) -> f64 {
        if last.is_none_or(|entropy| entropy <= self.target) { coef } else { 0.0 }
    }

    /// What a nat would earn after a step of that mean entropy.
    #[must_use]
    pub fn after(&self, coef: f64, entropy: f64) -> f64 {
        let moved = if entropy <= self.target { coef + self.delta } else { coef - self.delta };
        moved.clamp(self.min, self.max)
    }
}

/// Where coefficients have come to in a run. Written as text: who reads a number back from JSON may be wrong in its last bit.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Adapted {
    /// What the weight of the KL term is multiplied by; `None` before it was first adapted.
    #[serde(with = "exact", skip_serializing_if = "Option::is_none")]
    pub kl_scale: Option<f64>,
    /// What a nat of entropy would earn; `None` before it was first adapted.
    #[serde(with = "exact", skip_serializing_if = "Option::is_none")]
    pub entropy_coef: Option<f64>,
    /// The mean entropy of the step that it was last adapted to, nats.
    #[serde(with = "exact", skip_serializing_if = "Option::is_none")]
    pub entropy: Option<f64>,
}

impl Adapted {
    /// What the weight of the KL term is multiplied by.
    #[must_use]
    pub fn kl_scale(&self) -> f64 {
        self.kl_scale.unwrap_or(1.0)
    }
}

mod exact {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        number.map(|number| number.to_string()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        let text: Option<String> = Deserialize::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONTROL: KlControl = KlControl { target: 0.1, horizon: 1000.0 };

    fn assert_near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn a_weight_rises_while_the_policy_is_too_far_away_and_falls_while_it_is_too_near() {
        // 10 % too far, in 100 of 1000 episodes
        assert_near(CONTROL.after(2.0, 0.11, 100), 2.0 * 1.01);
        assert_near(CONTROL.after(2.0, 0.09, 100), 2.0 * 0.99);
        assert_near(CONTROL.after(2.0, 0.1, 100), 2.0);
    }

    #[test]
    fn one_step_counts_as_a_fifth_off_at_the_most() {
        assert_near(CONTROL.after(1.0, 50.0, 100), 1.02);
        assert_near(CONTROL.after(1.0, 0.0, 100), 0.98);
        assert_eq!(CONTROL.after(1.0, 0.0, 100_000), 0.0, "it never turns round");
    }

    #[test]
    fn a_bonus_grows_while_entropy_is_low_and_is_paid_only_then() {
        let control = EntropyControl { target: 0.2, delta: 0.005, min: 0.0, max: 0.012 };
        let (mut coef, mut course) = (0.0, Vec::new());
        for entropy in [0.1, 0.2, 0.15, 0.3, 0.3, 0.3, 0.3] {
            coef = control.after(coef, entropy);
            course.push((coef, control.paid(coef, Some(entropy))));
        }
        // Up by 0.005 to the ceiling of 0.012, down to the floor.
        let expected =
            [(0.005, 0.005), (0.01, 0.01), (0.012, 0.012), (0.007, 0.0), (0.002, 0.0), (0.0, 0.0), (0.0, 0.0)];
        for ((a, paid), (b, due)) in course.into_iter().zip(expected) {
            assert_near(a, b);
            assert_near(paid, due);
        }
        assert_eq!(control.paid(0.01, None), 0.01, "before the first step nothing speaks against it");
    }

    proptest! {
        #[test]
        fn where_coefficients_have_come_to_is_read_back_to_the_bit(scale in prop::num::f64::NORMAL) {
            let adapted = Adapted { kl_scale: Some(scale), entropy_coef: Some(scale / 3.0), entropy: None };
            let text = serde_json::to_string(&adapted).unwrap();
            prop_assert_eq!(serde_json::from_str::<Adapted>(&text).unwrap(), adapted);
        }
    }

    #[test]
    fn nothing_adapted_is_what_an_empty_record_says() {
        assert_eq!(serde_json::to_string(&Adapted::default()).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<Adapted>("{}").unwrap().kl_scale(), 1.0);
    }
}
