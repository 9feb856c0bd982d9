//! A circuit breaker: stops calling a dependency that keeps failing, and finds out by itself when it is back.
//!
//! ```text
//!            too many failed or were slow            the open time is over
//!   CLOSED ------------------------------> OPEN ------------------------------> HALF-OPEN
//!     ^                                      ^   some probe in too many failed     |  |
//!     |                                      '-------------------------------------'  |
//!     '---------------------------- the probes came through --------------------------'
//! ```
//!
//! | Question                        | Answer                                                                                      |
//! |---------------------------------|---------------------------------------------------------------------------------------------|
//! | Over which calls are rates taken? | the [`Window`]; below `min_calls` there is no opinion                                      |
//! | How long is it open?            | `open`, doubled for each time that probes failed, at most `open_max`; less up to half of it by chance |
//! | Who may probe?                  | `probes` calls. One that is dropped returns its place; a breaker in which all were dropped is not stuck |
//! | What of a call that was made before the state changed? | its result says nothing about now, and counts for nothing              |
//!
//! Names and rates are those of resilience4j. Differences: the open time grows and varies; late results are not taken for a probe's;
//! a probe that is cancelled is no result.

mod machine;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stateset_domain::{BreakerState, Stream};

use crate::{Tally, Window};
use machine::Machine;

/// When a breaker opens and closes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerSettings {
    /// The calls it judges by.
    pub window: Window,
    /// Calls it must have seen before it judges. At least 1.
    pub min_calls: u32,
    /// It opens when this share of calls failed. In `(0, 1]`.
    pub failure_rate: f64,
    /// A call that takes as long is slow.
    pub slow_call: Duration,
    /// It opens when this share of calls was slow. In `(0, 1]`.
    pub slow_rate: f64,
    /// How long it is open for the first time.
    pub open: Duration,
    /// How long it is open at most.
    pub open_max: Duration,
    /// Calls that are let through, to see whether the dependency is back. At least 1.
    pub probes: u32,
}

/// Why a breaker changed its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Too many calls failed.
    Failures,
    /// Too many calls were slow.
    Slowness,
    /// It has been open for long enough.
    OpenTimeOver,
    /// The probes came through.
    ProbesPassed,
    /// Too many probes failed.
    ProbesFailed,
    /// Too many probes were slow.
    ProbesSlow,
    /// Somebody said so.
    Forced,
    /// Nobody says so any more.
    Released,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failures => "too many calls failed",
            Self::Slowness => "too many calls were slow",
            Self::OpenTimeOver => "the open time is over",
            Self::ProbesPassed => "the probes came through",
            Self::ProbesFailed => "too many probes failed",
            Self::ProbesSlow => "too many probes were slow",
            Self::Forced => "forced",
            Self::Released => "released",
        })
    }
}

/// A change of state, for whoever records it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transition {
    /// The state before.
    pub from: BreakerState,
    /// The state after.
    pub to: BreakerState,
    /// The calls that decided it; none if time or somebody did.
    pub tally: Tally,
    /// Why.
    pub reason: Reason,
    /// How long it is open now, if it is.
    pub open_for: Option<Duration>,
}

/// A call that was not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// How long it makes no sense to ask again. If probes are out, their results may come sooner.
    pub wait: Duration,
}

/// The answer to [`CircuitBreaker::admit`].
#[derive(Debug)]
pub struct Admission {
    /// The call, if it may be made.
    pub call: Result<Call, Refused>,
    /// What asking has changed.
    pub transition: Option<Transition>,
}

/// A breaker. Clones share it.
#[derive(Debug, Clone)]
pub struct CircuitBreaker {
    machine: Arc<Mutex<Machine>>,
}

/// A call that was let through. Dropping it says that it was abandoned: no result, and its place is free again.
#[derive(Debug)]
#[must_use = "a call that is dropped counts as abandoned"]
pub struct Call {
    machine: Arc<Mutex<Machine>>,
    generation: u64,
    began: Duration,
    settled: bool,
}

impl CircuitBreaker {
    /// A closed breaker; `random` varies its open times.
    #[must_use]
    pub fn new(settings: BreakerSettings, random: Stream) -> Self {
        Self { machine: Arc::new(Mutex::new(Machine::new(settings, random))) }
    }

    /// Asks to call the dependency at `now`.
    #[must_use]
    pub fn admit(&self, now: Duration) -> Admission {
        let (admitted, transition) = lock(&self.machine).admit(now);
        let call = admitted.map(|generation| Call {
            machine: Arc::clone(&self.machine),
            generation,
            began: now,
            settled: false,
        });
        Admission { call, transition }
    }

    /// Lets nothing through until it is released.
    pub fn force_open(&self) -> Option<Transition> {
        lock(&self.machine).force(BreakerState::ForcedOpen)
    }

    /// Lets everything through until it is released.
    pub fn force_closed(&self) -> Option<Transition> {
        lock(&self.machine).force(BreakerState::ForcedClosed)
    }

    /// Lets it decide for itself again, beginning closed and without memory. Nothing happens unless it was forced.
    pub fn release(&self) -> Option<Transition> {
        lock(&self.machine).release()
    }

    /// Its state as of the last call, the calls it judges by, and how long it is still open, at `now`.
    #[must_use]
    pub fn look(&self, now: Duration) -> (BreakerState, Tally, Duration) {
        lock(&self.machine).look(now)
    }
}

impl Call {
    /// It was answered.
    pub fn succeeded(self, now: Duration) -> Option<Transition> {
        self.settle(false, now)
    }

    /// It failed.
    pub fn failed(self, now: Duration) -> Option<Transition> {
        self.settle(true, now)
    }

    fn settle(mut self, failed: bool, now: Duration) -> Option<Transition> {
        self.settled = true;
        let took = now.saturating_sub(self.began);
        lock(&self.machine).settle(self.generation, failed, took, now)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.settled {
            lock(&self.machine).abandon(self.generation);
        }
    }
}

/// No code that can panic runs under the lock, so a poisoned one is as good as any.
fn lock(machine: &Mutex<Machine>) -> MutexGuard<'_, Machine> {
    machine.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
