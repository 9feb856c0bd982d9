//! When training looks unhealthy, and when it stands still.

use std::collections::BTreeSet;
use std::time::Duration;

use stateset_domain::StepMetrics;

use crate::protocol::Reading;

/// What counts as healthy.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthLimits {
    /// Largest sampler-trainer log-probability gap, nats. Beyond it, what is trained on is not what was sampled. Default 1e-3.
    pub log_prob_gap: f64,
    /// Largest share of a step's episodes that may fail. Default 0.1.
    pub failed_share: f64,
    /// Smallest mean entropy, nats. Below it the policy hardly explores any more. Default 0.01.
    pub entropy: f64,
    /// Largest mean KL from the reference, nats. Its estimate has a long tail, so the limit is wide. Default 5.
    pub kl: f64,
    /// Success rate from which a policy may be sure of itself: being certain and of one mind is then no fault. Default 0.7.
    pub solved: f64,
}

impl Default for HealthLimits {
    fn default() -> Self {
        Self { log_prob_gap: 1e-3, failed_share: 0.1, entropy: 0.01, kl: 5.0, solved: 0.7 }
    }
}

/// Judges steps.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthPolicy {
    /// What counts as healthy.
    pub limits: HealthLimits,
    /// Episodes that a step asks for.
    pub episodes_per_step: u64,
}

/// A limit that was crossed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Issue {
    /// The rule's name.
    pub rule: &'static str,
    /// What was measured.
    pub value: f64,
    /// The limit.
    pub limit: f64,
}

impl HealthPolicy {
    /// What is wrong with a step.
    #[must_use]
    pub fn examine(&self, metrics: &StepMetrics) -> Vec<Issue> {
        let (learner, limits) = (&metrics.learner, &self.limits);
        let failed = metrics.episodes_failed as f64 / self.episodes_per_step.max(1) as f64;
        let finite = !learner.skipped && learner.loss.is_finite() && learner.grad_norm.is_finite();
        let (open, silent) = (metrics.success_rate < limits.solved, learner.frac_zero_std_groups);
        let rules = [
            (!finite, "non_finite_step", 1.0, 0.0),
            (open && silent >= 1.0, "no_group_differs", silent, 1.0),
            (learner.log_prob_gap > limits.log_prob_gap, "log_prob_gap", learner.log_prob_gap, limits.log_prob_gap),
            (failed > limits.failed_share, "episodes_failed", failed, limits.failed_share),
            (finite && open && learner.entropy < limits.entropy, "entropy_collapse", learner.entropy, limits.entropy),
            (learner.kl > limits.kl, "kl_from_reference", learner.kl, limits.kl),
        ];
        rules.into_iter().filter(|rule| rule.0).map(|(_, rule, value, limit)| Issue { rule, value, limit }).collect()
    }
}

/// Tells an issue when it begins, not again for as long as it lasts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Onsets {
    lasting: BTreeSet<&'static str>,
}

impl Onsets {
    /// Those of a step's `issues` that the step before did not have.
    pub fn news(&mut self, issues: Vec<Issue>) -> Vec<Issue> {
        let before = std::mem::replace(&mut self.lasting, issues.iter().map(|issue| issue.rule).collect());
        issues.into_iter().filter(|issue| !before.contains(issue.rule)).collect()
    }
}

/// Notices when the counters stop moving.
#[derive(Debug, Clone, PartialEq)]
pub struct Watchdog {
    limit: Duration,
    reading: Reading,
    /// When the counters last moved; `None` once it has barked about this stillness.
    since: Option<Duration>,
}

impl Watchdog {
    /// A watchdog that barks after `limit` without progress.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { limit, reading: Reading::default(), since: Some(Duration::ZERO) }
    }

    /// Looks at the counters at `now`, measured from the watchdog's start. Barks once for each stillness.
    pub fn look(&mut self, reading: Reading, now: Duration) -> Option<Issue> {
        if reading != self.reading {
            (self.reading, self.since) = (reading, Some(now));
            return None;
        }
        let still = now.saturating_sub(self.since?);
        (still >= self.limit).then(|| {
            self.since = None;
            Issue { rule: "stalled", value: still.as_secs_f64(), limit: self.limit.as_secs_f64() }
        })
    }
}

#[cfg(test)]
mod tests {
    use stateset_domain::{PolicyVersion, StepReport};

    use super::*;

    fn metrics(learner: StepReport, episodes_failed: u64) -> StepMetrics {
        StepMetrics {
            step: 1,
            policy_version: PolicyVersion(1),
            reward_mean: 0.0,
            reward_std: 0.0,
            success_rate: 0.0,
            episodes_failed,
            rollout_tokens: 0,
            rollout_seconds: 0.0,
            train_seconds: 0.0,
            learner,
        }
    }

    fn rules(learner: StepReport, failed: u64) -> Vec<&'static str> {
        let policy = HealthPolicy { limits: HealthLimits::default(), episodes_per_step: 100 };
        policy.examine(&metrics(learner, failed)).into_iter().map(|issue| issue.rule).collect()
    }

    #[test]
    fn each_rule_fires_beyond_its_limit_and_not_at_it() {
        let healthy = StepReport { entropy: 0.01, log_prob_gap: 1e-3, kl: 5.0, ..StepReport::default() };
        assert_eq!(rules(healthy.clone(), 10), [""; 0]);
        assert_eq!(rules(healthy.clone(), 11), ["episodes_failed"]);
        assert_eq!(rules(StepReport { loss: f64::NAN, ..healthy.clone() }, 0), ["non_finite_step"]);
        assert_eq!(rules(StepReport { skipped: true, ..healthy.clone() }, 0), ["non_finite_step"]);
        assert_eq!(rules(StepReport { frac_zero_std_groups: 1.0, ..healthy.clone() }, 0), ["no_group_differs"]);
        assert_eq!(rules(StepReport { log_prob_gap: 2e-3, ..healthy.clone() }, 0), ["log_prob_gap"]);
        assert_eq!(rules(StepReport { entropy: 0.005, ..healthy.clone() }, 0), ["entropy_collapse"]);
        assert_eq!(rules(StepReport { kl: 5.5, ..healthy }, 0), ["kl_from_reference"]);
    }

    #[test]
    fn a_policy_that_succeeds_may_be_sure_of_itself() {
        let sure = StepReport { frac_zero_std_groups: 1.0, entropy: 0.0, ..StepReport::default() };
        let policy = HealthPolicy { limits: HealthLimits::default(), episodes_per_step: 100 };
        let at = |success_rate| policy.examine(&StepMetrics { success_rate, ..metrics(sure.clone(), 0) }).len();
        assert_eq!((at(0.69), at(0.7)), (2, 0));
        let unmeasured = StepReport { entropy: f64::NAN, ..StepReport::default() };
        assert_eq!(rules(unmeasured, 0), [""; 0]);
    }

    #[test]
    fn an_issue_is_told_when_it_begins_and_again_when_it_returns() {
        let issue = |rule| Issue { rule, value: 1.0, limit: 0.0 };
        let mut onsets = Onsets::default();
        assert_eq!(onsets.news(vec![issue("a")]), [issue("a")]);
        assert_eq!(onsets.news(vec![issue("a"), issue("b")]), [issue("b")]);
        assert_eq!(onsets.news(vec![]), []);
        assert_eq!(onsets.news(vec![issue("a")]), [issue("a")]);
    }

    #[test]
    fn the_watchdog_barks_once_for_each_stillness() {
        let seconds = Duration::from_secs;
        let mut dog = Watchdog::new(seconds(30));
        let reading = |tokens| Reading { tokens, ..Reading::default() };
        assert_eq!(dog.look(reading(5), seconds(20)), None);
        assert_eq!(dog.look(reading(5), seconds(49)), None);
        assert_eq!(dog.look(reading(5), seconds(55)).map(|issue| issue.value), Some(35.0));
        assert_eq!(dog.look(reading(5), seconds(99)), None, "once is enough");
        assert_eq!(dog.look(reading(6), seconds(100)), None);
        assert!(dog.look(reading(6), seconds(131)).is_some());
    }
}
