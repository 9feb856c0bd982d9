//! Where something can go wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place that is visited again and again while a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Site {
    /// The learner's actor, before each of its messages.
    Learner,
    /// The environment's actor.
    Environment,
    /// A conversation, before each of its turns.
    Conversation,
    /// The inference engine's actor.
    Inference,
    /// The judge's actor.
    Judge,
    /// The checkpointer's actor.
    Checkpointer,
    /// The health monitor's actor.
    HealthMonitor,
    /// A step of the engine, on its thread.
    Engine,
    /// An optimizer step, on the learner's thread.
    Optimizer,
    /// The writing of a checkpoint, on the checkpointer's thread.
    Store,
    /// The scoring of an episode.
    Reward,
    /// A tool's answer.
    Tools,
    /// A message on its way to the learner.
    ToLearner,
    /// A message on its way to the environment.
    ToEnvironment,
    /// A message on its way to the inference engine.
    ToInference,
    /// A message on its way to the judge.
    ToJudge,
    /// A message on its way to the checkpointer.
    ToCheckpointer,
    /// A message on its way to the health monitor.
    ToHealthMonitor,
    /// The machine's clock. It is visited whenever another site is.
    Clock,
    /// The process as a whole. It is visited whenever another site is.
    Process,
}

impl Site {
    /// Every site.
    pub const ALL: [Self; 20] = [
        Self::Learner,
        Self::Environment,
        Self::Conversation,
        Self::Inference,
        Self::Judge,
        Self::Checkpointer,
        Self::HealthMonitor,
        Self::Engine,
        Self::Optimizer,
        Self::Store,
        Self::Reward,
        Self::Tools,
        Self::ToLearner,
        Self::ToEnvironment,
        Self::ToInference,
        Self::ToJudge,
        Self::ToCheckpointer,
        Self::ToHealthMonitor,
        Self::Clock,
        Self::Process,
    ];

    /// Its name, as in plans and events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Learner => "learner",
            Self::Environment => "environment",
            Self::Conversation => "conversation",
            Self::Inference => "inference",
            Self::Judge => "judge",
            Self::Checkpointer => "checkpointer",
            Self::HealthMonitor => "health_monitor",
            Self::Engine => "engine",
            Self::Optimizer => "optimizer",
            Self::Store => "store",
            Self::Reward => "reward",
            Self::Tools => "tools",
            Self::ToLearner => "to_learner",
            Self::ToEnvironment => "to_environment",
            Self::ToInference => "to_inference",
            Self::ToJudge => "to_judge",
            Self::ToCheckpointer => "to_checkpointer",
            Self::ToHealthMonitor => "to_health_monitor",
            Self::Clock => "clock",
            Self::Process => "process",
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
