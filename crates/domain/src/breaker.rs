//! How a dependency is doing, in words that whoever guards it, records it or shows it have in common.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether calls to a dependency are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// All are, and their results are watched.
    Closed,
    /// None is, until some time has passed.
    Open,
    /// A few are, to see whether the dependency is back.
    HalfOpen,
    /// None is, because somebody said so.
    ForcedOpen,
    /// All are, because somebody said so.
    ForcedClosed,
}

impl BreakerState {
    /// Its name, as in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
        }
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A dependency at one moment, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DependencyReading {
    /// Its name.
    pub dependency: String,
    /// Whether it is called.
    pub state: BreakerState,
    /// Seconds until it is tried again; 0 unless the breaker is open.
    pub opens_in_seconds: f64,
    /// Calls that the rates are taken over.
    pub calls: u32,
    /// Share of them that failed.
    pub failure_rate: f64,
    /// Share of them that were slow.
    pub slow_rate: f64,
    /// Calls that wait for an answer now.
    pub in_flight: usize,
    /// Calls that wait to be made.
    pub waiting: usize,
}

/// A guarded dependency, as a view of the running system sees it. Reading takes no mailbox and never waits for an actor.
pub trait Dependency: Send + Sync {
    /// How it is doing now.
    fn read(&self) -> DependencyReading;
}
