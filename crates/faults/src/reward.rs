//! A reward that fails on demand.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stateset_domain::Trajectory;
use stateset_rewards::{Reward, RewardError, Score};

use crate::{Injector, Kind, Site};

/// Another reward, which cannot score when the plan says so.
pub struct FaultyReward {
    inner: Arc<dyn Reward>,
    injector: Arc<Injector>,
    /// Until when nothing is scored.
    out_until: Mutex<Duration>,
}

impl FaultyReward {
    /// `inner`, with the faults of [`Site::Reward`].
    pub fn new(inner: Arc<dyn Reward>, injector: Arc<Injector>) -> Self {
        Self { inner, injector, out_until: Mutex::default() }
    }
}

impl Reward for FaultyReward {
    fn score(&self, trajectory: &Trajectory) -> Result<Score, RewardError> {
        let now = self.injector.now();
        let mut out_until = self.out_until.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(injected) = self.injector.visit(Site::Reward) {
            if injected.fault.kind != Kind::JudgeOutage {
                return Err(RewardError(injected.text()));
            }
            *out_until = (*out_until).max(now + injected.fault.lasts);
        }
        if now < *out_until {
            return Err(RewardError("the judge is out".into()));
        }
        drop(out_until);
        self.inner.score(trajectory)
    }
}
