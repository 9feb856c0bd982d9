//! Where tests look in.

use std::fmt;

use serde::{Deserialize, Serialize};

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

/// Is visited before every message an actor handles, and by a conversation before every turn. It may panic: that is what it is for.
pub trait Probe: Send + Sync {
    /// `site` is about to work.
    fn visit(&self, site: Site);
}

/// Looks at nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unprobed;

impl Probe for Unprobed {
    fn visit(&self, _site: Site) {}
}
