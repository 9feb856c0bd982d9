//! A group: the episodes that answer one scenario, whose rewards are compared with one another.

use serde::{Deserialize, Serialize};

use crate::{GroupId, Trajectory};

/// Finished, judged episodes of one scenario, in member order. Failed ones are left out, so it may hold fewer than were asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Which group this is.
    pub id: GroupId,
    /// Its episodes, ordered by member.
    pub members: Vec<Trajectory>,
}

/// Whether all rewards are equal, so that there is nothing to compare.
#[must_use]
pub fn is_flat(rewards: &[f64]) -> bool {
    rewards.windows(2).all(|pair| pair[0] == pair[1])
}

impl Group {
    /// The members' rewards. Members that were not judged are skipped.
    #[must_use]
    pub fn rewards(&self) -> Vec<f64> {
        self.members.iter().filter_map(|member| member.reward).map(f64::from).collect()
    }
}
