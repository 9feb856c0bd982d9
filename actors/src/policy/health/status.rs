//! How a run is doing, in a few words and numbers.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthLevel {
    /// Nothing is the matter.
    #[default]
    Healthy,
    /// Something is worth a look.
    Warning,
    /// The run will not get over it by itself.
    Critical,
}

/// How a run is doing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HealthStatus {
    /// The worst of the issues.
    pub status: HealthLevel,
    /// The step that was looked at; 0 before the first.
    pub step: u64,
    /// Every signal of that step that is known, by name.
    pub metrics: BTreeMap<String, f64>,
    /// What is the matter now.
    pub issues: Vec<HealthIssue>,
    /// What somebody should do about it: what rules would do that may only report.
    pub recommended_actions: Vec<String>,
}

/// Something that is the matter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthIssue {
    /// The rule that says so.
    pub rule: String,
    /// Its condition, as written.
    pub when: String,
    /// The step since which it holds.
    pub since_step: u64,
    /// How bad it is.
    pub level: HealthLevel,
    /// What the signals in the condition say.
    pub evidence: BTreeMap<String, Option<f64>>,
}

/// Where the status of a run can be read while every mailbox is stuck.
#[derive(Debug, Default)]
pub struct HealthBoard {
    learning: RwLock<HealthStatus>,
    /// How long nothing has moved, if it is too long.
    stall: RwLock<Option<String>>,
    /// By how much a model that judges does so higher than it did, if that is known.
    judge_drift: RwLock<Option<f64>>,
}

impl HealthBoard {
    /// The status now, stillness included.
    #[must_use]
    pub fn read(&self) -> HealthStatus {
        let mut status = self.learning.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(stall) = &*self.stall.read().unwrap_or_else(PoisonError::into_inner) {
            status.status = HealthLevel::Critical;
            status.issues.push(HealthIssue {
                rule: "stalled".into(),
                when: stall.clone(),
                since_step: status.step,
                level: HealthLevel::Critical,
                evidence: BTreeMap::new(),
            });
        }
        status
    }

    /// A model that judges does so higher than it did, by so much.
    pub(crate) fn judge_drifted(&self, by: f64) {
        *self.judge_drift.write().unwrap_or_else(PoisonError::into_inner) = Some(by);
    }

    /// By how much a model that judges does so higher than it did at first, in `[-1, 1]`; `None` if too little was judged again.
    #[must_use]
    pub fn judge_drift(&self) -> Option<f64> {
        *self.judge_drift.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step was looked at: so something moves.
    pub(crate) fn learned(&self, status: HealthStatus) {
        *self.learning.write().unwrap_or_else(PoisonError::into_inner) = status;
        self.stalled(None);
    }

    /// Nothing moves; or it does again.
    pub(crate) fn stalled(&self, stall: Option<String>) {
        *self.stall.write().unwrap_or_else(PoisonError::into_inner) = stall;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stillness_is_critical_until_a_step_is_taken() {
        let board = HealthBoard::default();
        board.stalled(Some("nothing has moved for 300 s".into()));
        let status = board.read();
        assert_eq!((status.status, status.issues[0].rule.as_str()), (HealthLevel::Critical, "stalled"));
        board.learned(HealthStatus::default());
        assert_eq!(board.read(), HealthStatus::default());
    }
}
