//! What a condition can look at: every number of a step, and what detectors make of them.
//!
//! | Signal                   | What it says                                                                                  |
//! |--------------------------|-----------------------------------------------------------------------------------------------|
//! | a field of [`StepMetrics`] | what it says in `metrics.jsonl`; a flag is 1 or 0                                            |
//! | `non_finite`             | 1 if the step was skipped, or its loss or gradient is not finite                               |
//! | `broken_weights`         | 1 if a weight is not a finite number any more                                                  |
//! | `judge_drift`            | by how much a model that judges does so higher than it did at first, in `[-1, 1]`              |
//! | `grad_norm_spike`        | how far `grad_norm` is above its median, in spreads: 1.48 MAD, at least half the median    |
//! | `entropy_drop`           | the share of its median that `entropy` has lost                                                |
//! | `tokens_per_episode`     | tokens of a finished episode                                                                   |
//! | `length_drift`           | `tokens_per_episode` against the median of the first steps, less 1                             |
//! | `failed_share`           | the share of the step's episodes that failed                                                   |
//! | `reward_drop`            | the share of the best `reward_mean` so far that is lost, if that is more than chance           |
//! | `reward_without_success` | the share of the best `success_rate` that is lost although `reward_mean` is no lower            |
//! | `held_out_success`       | of the latest sampled evaluation                                                               |
//! | `reward_hacking`         | the share of the best `held_out_success` that is lost although `reward_mean` is no lower        |
//! | `tokens_per_second`      | speed of the rollout                                                                           |
//! | `throughput_stall`       | how many times slower than its median it was                                                   |
//!
//! A signal that is not known, because there are too few steps to compare with or no evaluation was made, is NaN.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stateset_domain::{PolicyVersion, StepMetrics, StepReport};

use super::statistics::{ENOUGH, Fading, Past};

/// What detectors make of a step, beside its own numbers.
const DERIVED: [&str; 12] = [
    "non_finite",
    "grad_norm_spike",
    "entropy_drop",
    "tokens_per_episode",
    "length_drift",
    "failed_share",
    "reward_drop",
    "reward_without_success",
    "held_out_success",
    "reward_hacking",
    "tokens_per_second",
    "throughput_stall",
];

/// Whether a weight is not a finite number; the learner knows.
const BROKEN_WEIGHTS: &str = "broken_weights";

/// How a model that judges differs from what it was; the judge knows.
const JUDGE_DRIFT: &str = "judge_drift";

/// What is known beside a step's own numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beside {
    /// Whether every weight is a finite number.
    pub sound: bool,
    /// By how much a model that judges does so higher than it did, if that is known.
    pub judge_drift: Option<f64>,
    /// How often as many episodes the step asked for as were planned: more where flat groups were made up for.
    pub rounds: f64,
}

impl Beside {
    /// Nothing to worry about.
    pub const WELL: Self = Self { sound: true, judge_drift: None, rounds: 1.0 };

    pub(super) fn signals(self) -> [(String, f64); 2] {
        let broken = f64::from(u8::from(!self.sound));
        [(BROKEN_WEIGHTS.into(), broken), (JUDGE_DRIFT.into(), self.judge_drift.unwrap_or(f64::NAN))]
    }
}

/// What detectors look back on.
pub(super) const LOOKED_BACK_ON: [&str; 4] = ["grad_norm", "entropy", "tokens_per_episode", "tokens_per_second"];

/// Signals that depend on the machine and its load. What is decided by them must not change what a run computes.
pub const TIMED: [&str; 4] = ["rollout_seconds", "train_seconds", "tokens_per_second", "throughput_stall"];

/// Signals that are only known if the policy is evaluated along the way.
pub const EVALUATED: [&str; 2] = ["held_out_success", "reward_hacking"];

static MEASURED: LazyLock<Vec<String>> = LazyLock::new(|| {
    let blank = StepMetrics {
        step: 0,
        policy_version: PolicyVersion(0),
        reward_mean: 0.0,
        reward_std: 0.0,
        success_rate: 0.0,
        episodes_failed: 0,
        rollout_tokens: 0,
        rollout_seconds: 0.0,
        train_seconds: 0.0,
        learner: StepReport::default(),
    };
    measured(&blank).into_keys().collect()
});

/// The name of every signal.
pub fn names() -> impl Iterator<Item = &'static str> {
    MEASURED.iter().map(String::as_str).chain([BROKEN_WEIGHTS, JUDGE_DRIFT]).chain(DERIVED)
}

/// The signals of one step, by name.
pub(super) type Signals = BTreeMap<String, f64>;

/// The numbers of a step as they stand in `metrics.jsonl`.
fn measured(metrics: &StepMetrics) -> Signals {
    let row = serde_json::to_value(metrics).expect("numbers and flags always serialise");
    let number = |value: &Value| match value {
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::Number(number) => number.as_f64(),
        Value::Null => Some(f64::NAN),
        Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let fields = row.as_object().into_iter().flatten();
    fields.filter_map(|(name, value)| Some((name.clone(), number(value)?))).collect()
}

/// What detectors remember beside the windows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Tokens of an episode in the first steps.
    first_lengths: Vec<f64>,
    reward: Fading,
    success: Fading,
    spread: Fading,
    best_reward: Option<f64>,
    trained: Divergence,
    held_out: Divergence,
    held_out_success: Option<f64>,
    reward_hacking: Option<f64>,
}

/// Whether what is true falls while what is scored does not.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Divergence {
    /// The best truth so far, and the score beside it.
    best: Option<(f64, f64)>,
}

/// Losses of success up to this are luck.
const LUCK: f64 = 0.05;

impl Divergence {
    /// The share of the best `truth` that is lost although `score` is no lower than it was then.
    fn look(&mut self, score: f64, truth: f64) -> f64 {
        if !score.is_finite() || !truth.is_finite() {
            return f64::NAN;
        }
        match self.best {
            Some((best, beside)) if truth < best => {
                if best - truth > LUCK && score >= beside {
                    1.0 - truth / best
                } else {
                    0.0
                }
            }
            Some(_) | None => {
                self.best = Some((truth, score));
                0.0
            }
        }
    }
}

impl Memory {
    /// Takes note of a sampled evaluation.
    pub(super) fn evaluated(&mut self, success_rate: f64) {
        self.held_out_success = Some(success_rate);
        // Before the first step there is no reward to compare with.
        if self.reward.mean().is_finite() {
            self.reward_hacking = Some(self.held_out.look(self.reward.mean(), success_rate));
        }
    }

    /// Every signal of a step.
    pub(super) fn look(&mut self, metrics: &StepMetrics, episodes: f64, groups: f64, past: &Past) -> Signals {
        let StepMetrics { learner, reward_mean, success_rate, episodes_failed, rollout_tokens, .. } = metrics;
        let lately = |name: &str| past.get(name);
        let finite = !learner.skipped && learner.loss.is_finite() && learner.grad_norm.is_finite();
        let per_episode = *rollout_tokens as f64 / (episodes - *episodes_failed as f64).max(0.0);
        let per_second = *rollout_tokens as f64 / metrics.rollout_seconds;
        let (reward, success) = (self.reward.push(*reward_mean), self.success.push(*success_rate));
        let drift = self.drift(per_episode);
        let drop = self.drop_of(*reward_mean, metrics.reward_std / groups.max(1.0).sqrt());
        let spike = lately("grad_norm").map_or(f64::NAN, |window| {
            let median = window.median();
            (learner.grad_norm - median) / (1.4826 * window.mad()).max(0.5 * median)
        });
        let derived = [
            f64::from(u8::from(!finite)),
            spike,
            lately("entropy").map_or(f64::NAN, |window| 1.0 - learner.entropy / window.median()),
            per_episode,
            drift,
            *episodes_failed as f64 / episodes.max(1.0),
            drop,
            self.trained.look(reward, success),
            self.held_out_success.unwrap_or(f64::NAN),
            self.reward_hacking.unwrap_or(f64::NAN),
            per_second,
            lately("tokens_per_second").map_or(f64::NAN, |window| window.median() / per_second),
        ];
        let mut signals = measured(metrics);
        signals.extend(DERIVED.map(str::to_owned).into_iter().zip(derived));
        signals
    }

    /// The share of the best fading mean that `reward` has lost. Losses of less than three standard errors are chance, members of a
    /// group being as alike as they are different from other groups; and a best that
    /// is not above 0 has no shares.
    fn drop_of(&mut self, reward: f64, error: f64) -> f64 {
        let error = self.spread.push(error);
        let best = self.best_reward.map_or(self.reward.mean(), |best| best.max(self.reward.mean()));
        self.best_reward = Some(best).filter(|best| best.is_finite());
        match best - reward {
            lost if best > 0.0 && lost > 3.0 * error => lost / best,
            _ if best > 0.0 && reward.is_finite() => 0.0,
            _ => f64::NAN,
        }
    }

    fn drift(&mut self, length: f64) -> f64 {
        if self.first_lengths.len() < ENOUGH {
            self.first_lengths.extend(Some(length).filter(|length| length.is_finite()));
            return f64::NAN;
        }
        let mut sorted = self.first_lengths.clone();
        sorted.sort_by(f64::total_cmp);
        length / sorted[sorted.len() / 2] - 1.0
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A step of an unremarkable run of 100 episodes.
    pub(in super::super) fn ordinary(step: u64) -> StepMetrics {
        StepMetrics {
            step,
            policy_version: PolicyVersion(step),
            reward_mean: 0.5,
            reward_std: 0.3,
            success_rate: 0.4,
            episodes_failed: 0,
            rollout_tokens: 10_000,
            rollout_seconds: 1.0,
            train_seconds: 0.5,
            learner: StepReport { entropy: 1.0, grad_norm: 1.0, lr: 1e-3, ..StepReport::default() },
        }
    }

    fn seen(memory: &mut Memory, metrics: &StepMetrics, past: &mut Past) -> Signals {
        let signals = memory.look(metrics, 100.0, 25.0, past);
        for name in LOOKED_BACK_ON {
            past.entry(name.into()).or_default().push(signals[name]);
        }
        signals
    }

    fn after_ordinary_steps() -> (Memory, Past) {
        let (mut memory, mut past) = (Memory::default(), Past::default());
        (1..=10).for_each(|step| drop(seen(&mut memory, &ordinary(step), &mut past)));
        (memory, past)
    }

    #[test]
    fn every_number_of_a_step_is_a_signal() {
        let names: Vec<&str> = names().collect();
        for name in ["step", "kl", "grad_norm", "skipped", "success_rate", "frac_zero_std_groups", "log_prob_gap"] {
            assert!(names.contains(&name), "{name}");
        }
        let mut signals = Memory::default().look(&ordinary(1), 100.0, 25.0, &Past::default());
        signals.extend(Beside::WELL.signals());
        assert_eq!(
            signals.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
            names.into_iter().collect()
        );
    }

    #[test]
    fn detectors_say_nothing_before_there_is_enough_to_compare_with() {
        let signals = Memory::default().look(&ordinary(1), 100.0, 25.0, &Past::default());
        for name in ["grad_norm_spike", "entropy_drop", "length_drift", "held_out_success", "reward_hacking"] {
            assert!(signals[name].is_nan(), "{name}");
        }
        assert_eq!((signals["non_finite"], signals["failed_share"]), (0.0, 0.0));
    }

    #[test]
    fn each_detector_measures_what_it_is_named_for() {
        let (mut memory, mut past) = after_ordinary_steps();
        let learner = StepReport { grad_norm: 9.0, entropy: 0.25, skipped: true, ..ordinary(1).learner };
        let odd = StepMetrics { episodes_failed: 50, rollout_seconds: 4.0, learner, ..ordinary(11) };
        let signals = seen(&mut memory, &odd, &mut past);
        // The gradient never varied, so half its median is the spread: (9 - 1) / 0.5.
        assert!((signals["grad_norm_spike"] - 16.0).abs() < 1e-9);
        assert_eq!((signals["entropy_drop"], signals["non_finite"], signals["failed_share"]), (0.75, 1.0, 0.5));
        // 10 000 tokens of 50 episodes instead of 100: twice as long.
        assert_eq!((signals["tokens_per_episode"], signals["length_drift"]), (200.0, 1.0));
        assert_eq!((signals["tokens_per_second"], signals["throughput_stall"]), (2500.0, 4.0));
    }

    #[test]
    fn a_gradient_that_is_infinite_is_not_finite_though_metrics_cannot_say_so() {
        let learner = StepReport { grad_norm: f64::INFINITY, ..StepReport::default() };
        let signals = Memory::default().look(&StepMetrics { learner, ..ordinary(1) }, 100.0, 25.0, &Past::default());
        assert!(signals["non_finite"] == 1.0 && signals["grad_norm"].is_nan());
    }

    #[test]
    fn a_reward_that_falls_is_measured_against_the_best_there_was_and_chance_is_not() {
        let mut memory = Memory::default();
        let mut drop = |step, reward_mean| {
            let row = StepMetrics { reward_mean, ..ordinary(step) };
            memory.look(&row, 100.0, 25.0, &Past::default())["reward_drop"]
        };
        // A standard error is 0.3 / sqrt(25) = 0.06.
        assert_eq!((drop(1, 0.5), drop(2, 0.35)), (0.0, 0.0));
        assert!((drop(3, 0.1) - 0.8).abs() < 1e-9);
        assert!(Memory::default().look(&StepMetrics { reward_mean: -1.0, ..ordinary(1) }, 100.0, 25.0, &Past::default())["reward_drop"].is_nan());
    }

    #[test]
    fn reward_that_rises_while_success_falls_is_noticed_and_one_that_falls_with_it_is_not() {
        let last = |reward_then: f64| {
            let (mut memory, mut past) = after_ordinary_steps();
            let step = |step| StepMetrics { reward_mean: reward_then, success_rate: 0.1, ..ordinary(step) };
            let values = (11..=25).map(|n| seen(&mut memory, &step(n), &mut past)["reward_without_success"]);
            values.fold(f64::NAN, |_, value| value)
        };
        assert!((last(0.6) - 0.75).abs() < 0.01, "three quarters of 0.4 are lost");
        assert_eq!(last(0.2), 0.0);
    }

    #[test]
    fn held_out_success_that_falls_while_reward_rises_is_noticed() {
        let (mut memory, mut past) = after_ordinary_steps();
        memory.evaluated(0.5);
        (11..=20).for_each(|n| drop(seen(&mut memory, &StepMetrics { reward_mean: 0.8, ..ordinary(n) }, &mut past)));
        memory.evaluated(0.4);
        let signals = seen(&mut memory, &ordinary(21), &mut past);
        assert!((signals["reward_hacking"] - 0.2).abs() < 1e-9 && signals["held_out_success"] == 0.4);
        memory.evaluated(0.48);
        assert_eq!(memory.reward_hacking, Some(0.0), "two points are luck");
    }
}
