//! The supervisor's whole mind: events in, decisions out.
//!
//! ```text
//!            Start             Started               Exited, restart applies
//!  (added) ────────► Starting ────────► Up ───────────────────────────────────► Waiting(ticket)
//!                        ▲                │ Exited, it does not                        │ Due(ticket)
//!                        │                └──────────────────► Down, or forgotten      │
//!                        └─────────────────────────────────────────────────────────────┘
//! ```
//!
//! The rules are OTP's. A failure counts once, however many siblings are restarted with it; a start that fails during a restart is one
//! more failure; a transient child that had finished comes back when an earlier sibling's failure restarts the rest, a temporary one
//! is stopped for good. New is the wait between stopping and starting, named by a [`Ticket`]: a later plan that concerns the same
//! children takes them over, and the earlier ticket then finds nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use stateset_domain::Stream;
use stateset_telemetry::ExitCause;

use super::{Backoff, Failures, Intensity, Restart, RestartWindow, Strategy};

/// Names a child of one supervisor. Keys are ordered by first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChildKey(pub(crate) u64);

/// Names one wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A child that was to be started is up.
    Started {
        /// Which.
        child: ChildKey,
    },
    /// A child ended without having been told to, or could not be started.
    Exited {
        /// Which.
        child: ChildKey,
        /// How.
        cause: ExitCause,
    },
    /// A child can be neither ended nor, therefore, replaced.
    Unstoppable {
        /// Which.
        child: ChildKey,
        /// What is known of it.
        cause: ExitCause,
    },
    /// A wait is over.
    Due {
        /// Which.
        ticket: Ticket,
    },
}

/// What to do about it. Decisions are carried out in order; the decisions that answer a start or a stop which failed replace those
/// that were still to come.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Stop a child.
    Stop(ChildKey),
    /// A child is gone for good: drop whatever is kept for it.
    Forget(ChildKey),
    /// Wait, then report [`Event::Due`].
    Restart(Plan),
    /// Start a child, then report [`Event::Started`] or [`Event::Exited`].
    Start(ChildKey),
    /// Stop every child and end with an error.
    GiveUp {
        /// The child that failed last.
        child: ChildKey,
        /// Why the child failed.
        cause: ExitCause,
        /// Why that is not answered with a restart.
        reason: GiveUpReason,
        /// Restarts within the window, the one that is refused included.
        restarts_in_window: u32,
    },
}

/// Why a failure is not answered with a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUpReason {
    /// There have been too many.
    TooManyRestarts,
    /// The child could not be ended, so it cannot be replaced.
    Unstoppable,
}

/// A restart that has been decided on.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Names the wait.
    pub ticket: Ticket,
    /// The child that failed.
    pub child: ChildKey,
    /// Every child that is going to be started, in start order.
    pub restarting: Vec<ChildKey>,
    /// How long to wait first.
    pub delay: Duration,
    /// Restarts within the intensity window, this one included.
    pub restarts_in_window: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Down,
    Waiting(Ticket),
    Starting,
    Up { since: Duration },
}

#[derive(Debug, Clone)]
struct Child {
    restart: Restart,
    phase: Phase,
    failures: Failures,
}

/// One supervisor's children and rules.
#[derive(Debug, Clone)]
pub struct Supervision {
    strategy: Strategy,
    window: RestartWindow,
    backoff: Backoff,
    random: Stream,
    children: BTreeMap<ChildKey, Child>,
    next_key: u64,
    next_ticket: u64,
}

impl Supervision {
    /// A supervisor without children. `random` draws the waits.
    #[must_use]
    pub fn new(strategy: Strategy, intensity: Intensity, backoff: Backoff, random: Stream) -> Self {
        Self {
            strategy,
            window: RestartWindow::new(intensity),
            backoff,
            random,
            children: BTreeMap::new(),
            next_key: 0,
            next_ticket: 0,
        }
    }

    /// Takes in a child that is about to be started for the first time, after all others.
    pub fn add(&mut self, restart: Restart) -> ChildKey {
        let key = ChildKey(self.next_key);
        self.next_key += 1;
        self.children.insert(key, Child { restart, phase: Phase::Starting, failures: Failures::default() });
        key
    }

    /// Drops a child whose first start failed.
    pub fn forget(&mut self, child: ChildKey) {
        self.children.remove(&child);
    }

    /// Children known, whether up or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// Whether `child` is up.
    #[must_use]
    pub fn is_up(&self, child: ChildKey) -> bool {
        self.children.get(&child).is_some_and(|child| matches!(child.phase, Phase::Up { .. }))
    }

    /// Takes in what happened at `now`, and decides.
    pub fn on_event(&mut self, event: Event, now: Duration) -> Vec<Decision> {
        match event {
            Event::Started { child } => {
                self.set_phase(child, Phase::Up { since: now });
                Vec::new()
            }
            Event::Exited { child, cause } => self.exited(child, cause, now),
            Event::Unstoppable { child, cause } => {
                let restarts_in_window = self.window.count(now);
                vec![Decision::GiveUp { child, cause, reason: GiveUpReason::Unstoppable, restarts_in_window }]
            }
            Event::Due { ticket } => self.due(ticket),
        }
    }

    fn exited(&mut self, key: ChildKey, cause: ExitCause, now: Duration) -> Vec<Decision> {
        let Some(child) = self.children.get_mut(&key) else { return Vec::new() };
        let lived = match child.phase {
            Phase::Down | Phase::Waiting(_) => return Vec::new(),
            Phase::Starting => None,
            Phase::Up { since } => Some(now.saturating_sub(since)),
        };
        child.phase = Phase::Down;
        if !child.restart.applies(&cause) {
            return if child.restart == Restart::Temporary { vec![self.dismiss(key)] } else { Vec::new() };
        }
        let restarts_in_window = self.window.record(now);
        if self.window.exceeded_by(restarts_in_window) {
            let reason = GiveUpReason::TooManyRestarts;
            return vec![Decision::GiveUp { child: key, cause, reason, restarts_in_window }];
        }
        let delay = child.failures.next_delay(&self.backoff, lived, &mut self.random);
        let (mut decisions, restarting, ticket) = self.set_aside(key);
        decisions.push(Decision::Restart(Plan { ticket, child: key, restarting, delay, restarts_in_window }));
        decisions
    }

    /// Stops all whom the failure of `key` concerns, last started first, and lets those that will return wait for one new ticket.
    fn set_aside(&mut self, key: ChildKey) -> (Vec<Decision>, Vec<ChildKey>, Ticket) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let (mut decisions, mut restarting) = (Vec::new(), Vec::new());
        for concerned in self.strategy.concerned(&self.children, key).into_iter().rev() {
            if self.is_up(concerned) {
                decisions.push(Decision::Stop(concerned));
            }
            if self.children[&concerned].restart == Restart::Temporary {
                decisions.push(self.dismiss(concerned));
            } else {
                self.set_phase(concerned, Phase::Waiting(ticket));
                restarting.insert(0, concerned);
            }
        }
        (decisions, restarting, ticket)
    }

    fn due(&mut self, ticket: Ticket) -> Vec<Decision> {
        let waiting = self.children.iter_mut().filter(|(_, child)| child.phase == Phase::Waiting(ticket));
        waiting
            .map(|(key, child)| {
                child.phase = Phase::Starting;
                Decision::Start(*key)
            })
            .collect()
    }

    fn dismiss(&mut self, key: ChildKey) -> Decision {
        self.children.remove(&key);
        Decision::Forget(key)
    }

    fn set_phase(&mut self, key: ChildKey, phase: Phase) {
        if let Some(child) = self.children.get_mut(&key) {
            child.phase = phase;
        }
    }
}

#[cfg(test)]
mod tests;
