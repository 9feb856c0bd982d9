//! Where faults come in.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The actors of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Site {
    /// The learner.
    Learner,
    /// The environment.
    Environment,
    /// A conversation.
    Conversation,
    /// The inference engine.
    Inference,
    /// The judge.
    Judge,
    /// The checkpointer.
    Checkpointer,
    /// The health monitor.
    HealthMonitor,
}

impl Site {
    /// Every site, in ring order.
    pub const ALL: [Self; 7] = [
        Self::Learner,
        Self::Environment,
        Self::Conversation,
        Self::Inference,
        Self::Judge,
        Self::Checkpointer,
        Self::HealthMonitor,
    ];

    /// Its name, as in events and graphs.
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
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Is visited before every message an actor handles, and by a conversation before every turn. It may panic, too: that is what it is for.
pub trait Probe: Send + Sync {
    /// `site` is about to work. What is to become of that?
    fn visit(&self, site: Site) -> Visit;
}

/// What a probe makes of a visit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visit {
    /// Go on.
    Pass,
    /// Go on after this long. The mailbox fills meanwhile, and the actor can be killed.
    Wait(Duration),
    /// The handler fails with this text.
    Fail(String),
}

/// A handler failed because its probe said so.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Failed(pub(crate) String);

/// Looks at nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unprobed;

impl Probe for Unprobed {
    fn visit(&self, _site: Site) -> Visit {
        Visit::Pass
    }
}
