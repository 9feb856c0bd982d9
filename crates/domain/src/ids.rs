//! Identities. An id is a pure function of where a thing stands in the run, never of when it was made, so that a run that is
//! repeated, resumed or healed names every episode alike.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Stream;

/// What an episode is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Trained on.
    Train,
    /// Held-out, sampled at the training temperature.
    EvaluateSampled,
    /// Held-out, greedy.
    EvaluateGreedy,
}

impl Purpose {
    /// The ways to evaluate, in the order in which they are made.
    pub const EVALUATIONS: [Self; 2] = [Self::EvaluateSampled, Self::EvaluateGreedy];
}

/// Names a group: the `G` episodes that answer one scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupId {
    /// What the group's episodes are for.
    pub purpose: Purpose,
    /// The optimizer step that asked for it.
    pub step: u64,
    /// Its place within the step.
    pub index: u32,
}

/// Names one episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EpisodeId {
    /// The group it belongs to.
    pub group: GroupId,
    /// Its place within the group.
    pub member: u32,
}

impl EpisodeId {
    /// The random stream of everything this episode samples: the same for every attempt at it.
    #[must_use]
    pub fn stream(&self, seed: u64) -> Stream {
        self.group.stream(seed).fork(u64::from(self.member) + 1)
    }
}

impl GroupId {
    /// The random stream that members of the group share (the simulated user's).
    #[must_use]
    pub fn stream(&self, seed: u64) -> Stream {
        Stream::new(seed).fork(self.purpose as u64).fork(self.step).fork(u64::from(self.index))
    }
}

impl fmt::Display for EpisodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GroupId { purpose, step, index } = self.group;
        let purpose = match purpose {
            Purpose::Train => "train",
            Purpose::EvaluateSampled => "eval",
            Purpose::EvaluateGreedy => "greedy",
        };
        write!(f, "{purpose}-{step}-{index}-{}", self.member)
    }
}

/// Counts the weights a policy has gone through; the base policy is 0 and every optimizer step adds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyVersion(pub u64);

impl fmt::Display for PolicyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// Names one generation request within an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);
