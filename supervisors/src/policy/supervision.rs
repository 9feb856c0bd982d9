//! The supervisor's whole mind: events in, decisions out.
//!
//! ```text
//!            Start             Started               Exited, restart applies
//!  (added) ────────► Starting ────────► Up ───────────────────────────────────► Waiting(ticket)
//!                        ▲                │ Exited, it does not                        │ Due(ticket)
//!                        │                ├──────────────────► Down, or forgotten      │
//!                        │                │ Exited once too often                      │
//!                        │                └──────────────────► Quarantined(ticket), Degraded
//!                        └─────────────────────────────────────────────────────────────┘
//! ```
//!
//! The rules are OTP's. A failure counts once, however many siblings are restarted with it; a start that fails during a restart is one
//! more failure; a transient child that had finished comes back when an earlier sibling's failure restarts the rest, a temporary one
//! is stopped for good; a significant child that is done may end its supervisor. New is the wait between stopping and starting, named by a [`Ticket`]: a later plan that concerns the same
//! children takes them over, and the earlier ticket then finds nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use stateset_domain::Stream;
use stateset_telemetry::ExitCause;

use super::{AutoShutdown, Backoff, BadCombination, Excess, Failures, Intensity, Restart, RestartWindow, Strategy};

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
    /// Somebody wants a child restarted, whatever its state. That is no failure and counts as none.
    Asked {
        /// Which.
        child: ChildKey,
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
    /// A child stays down, the others go on. Wait, if there is a wait, then report [`Event::Due`].
    SetAside(SetAside),
    /// The supervisor is done: stop every child and end normally.
    Finish {
        /// The significant child whose end is the reason.
        child: ChildKey,
    },
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GiveUpReason {
    /// There have been too many, of all children together.
    TooManyRestarts,
    /// There have been too many of this child alone.
    ChildTooManyRestarts,
    /// The child could not be ended, so it cannot be replaced.
    Unstoppable,
}

/// A child that is left down because restarting it does not help.
#[derive(Debug, Clone, PartialEq)]
pub struct SetAside {
    /// The child.
    pub child: ChildKey,
    /// Why it failed.
    pub cause: ExitCause,
    /// Whose count was exceeded.
    pub reason: GiveUpReason,
    /// Restarts within that window, the one that is refused included.
    pub restarts_in_window: u32,
    /// How long it is in quarantine, and the name of that wait. `None` if it is down for good.
    pub quarantine: Option<(Ticket, Duration)>,
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
    Quarantined(Ticket),
    Degraded,
}

impl Phase {
    /// Whether a sibling's failure leaves it alone.
    fn is_aside(self) -> bool {
        matches!(self, Self::Quarantined(_) | Self::Degraded)
    }

    /// Whether it is at work, or will be again.
    fn is_active(self) -> bool {
        !matches!(self, Self::Down | Self::Degraded)
    }
}

/// A supervisor's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whom a failure concerns.
    pub strategy: Strategy,
    /// How many failures of all children together are too many.
    pub intensity: Intensity,
    /// How long restarts wait.
    pub backoff: Backoff,
    /// What follows one failure too many.
    pub excess: Excess,
    /// Whether it ends when its children are done.
    pub auto_shutdown: AutoShutdown,
}

/// The rules for one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildRules {
    /// When it is restarted.
    pub restart: Restart,
    /// Whether its end may be its supervisor's.
    pub significant: bool,
    /// How many failures of this child alone are too many; `None` if only the supervisor's count matters.
    pub intensity: Option<Intensity>,
}

impl From<Restart> for ChildRules {
    fn from(restart: Restart) -> Self {
        Self { restart, significant: false, intensity: None }
    }
}

#[derive(Debug, Clone)]
struct Child {
    restart: Restart,
    significant: bool,
    window: Option<RestartWindow>,
    phase: Phase,
    failures: Failures,
}

/// One supervisor's children and rules.
#[derive(Debug, Clone)]
pub struct Supervision {
    rules: Rules,
    window: RestartWindow,
    random: Stream,
    children: BTreeMap<ChildKey, Child>,
    next_key: u64,
    next_ticket: u64,
}

impl Supervision {
    /// A supervisor without children. `random` draws the waits.
    #[must_use]
    pub fn new(rules: Rules, random: Stream) -> Self {
        let window = RestartWindow::new(rules.intensity);
        Self { rules, window, random, children: BTreeMap::new(), next_key: 0, next_ticket: 0 }
    }

    /// Takes in a child that is about to be started for the first time, after all others.
    ///
    /// # Errors
    /// [`BadCombination`] if the child can be significant to nobody.
    pub fn add(&mut self, rules: ChildRules) -> Result<ChildKey, BadCombination> {
        let ChildRules { restart, significant, intensity } = rules;
        self.rules.auto_shutdown.admit(restart, significant)?;
        let key = ChildKey(self.next_key);
        self.next_key += 1;
        let (window, failures) = (intensity.map(RestartWindow::new), Failures::default());
        self.children.insert(key, Child { restart, significant, window, phase: Phase::Starting, failures });
        Ok(key)
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
            Event::Due { ticket } => self.due(ticket, now),
            Event::Asked { child } => self.anew(child, now),
        }
    }

    fn exited(&mut self, key: ChildKey, cause: ExitCause, now: Duration) -> Vec<Decision> {
        let Some(child) = self.children.get_mut(&key) else { return Vec::new() };
        let lived = match child.phase {
            Phase::Down | Phase::Waiting(_) | Phase::Quarantined(_) | Phase::Degraded => return Vec::new(),
            Phase::Starting => None,
            Phase::Up { since } => Some(now.saturating_sub(since)),
        };
        child.phase = Phase::Down;
        if !child.restart.applies(&cause) {
            return self.done(key);
        }
        if let Some((reason, restarts_in_window)) = self.count(key, now) {
            return self.exceeded(key, cause, reason, restarts_in_window);
        }
        let restarts_in_window = self.window.count(now);
        let Some(child) = self.children.get_mut(&key) else { return Vec::new() };
        let delay = child.failures.next_delay(&self.rules.backoff, lived, &mut self.random);
        self.restart(key, delay, restarts_in_window)
    }

    /// A child has ended for good.
    fn done(&mut self, key: ChildKey) -> Vec<Decision> {
        let Some(child) = self.children.get(&key) else { return Vec::new() };
        let others = self.children.values().filter(|child| child.significant && child.phase.is_active()).count();
        if child.significant && self.rules.auto_shutdown.is_done(others) {
            return vec![Decision::Finish { child: key }];
        }
        if child.restart == Restart::Temporary { vec![self.dismiss(key)] } else { Vec::new() }
    }

    /// Counts a failure of `key` for itself and for all; whose count is exceeded by it, and how far, if any is.
    fn count(&mut self, key: ChildKey, now: Duration) -> Option<(GiveUpReason, u32)> {
        let together = self.window.record(now);
        let alone = self.children.get_mut(&key).and_then(|child| child.window.as_mut()).and_then(|window| {
            let alone = window.record(now);
            window.exceeded_by(alone).then_some((GiveUpReason::ChildTooManyRestarts, alone))
        });
        alone.or_else(|| self.window.exceeded_by(together).then_some((GiveUpReason::TooManyRestarts, together)))
    }

    fn exceeded(
        &mut self,
        child: ChildKey,
        cause: ExitCause,
        reason: GiveUpReason,
        restarts_in_window: u32,
    ) -> Vec<Decision> {
        let quarantine = match self.rules.excess {
            Excess::GiveUp => return vec![Decision::GiveUp { child, cause, reason, restarts_in_window }],
            Excess::Quarantine { cool_off } => Some((self.ticket(), cool_off)),
            Excess::Degrade => None,
        };
        self.window.clear();
        if let Some(child) = self.children.get_mut(&child) {
            child.phase = quarantine.map_or(Phase::Degraded, |(ticket, _)| Phase::Quarantined(ticket));
            child.window.iter_mut().for_each(RestartWindow::clear);
            child.failures = Failures::default();
        }
        // These decisions replace the starts that were still to come.
        let starts = self.children.iter().filter(|(_, child)| child.phase == Phase::Starting);
        let starts: Vec<_> = starts.map(|(key, _)| Decision::Start(*key)).collect();
        let aside = SetAside { child, cause, reason, restarts_in_window, quarantine };
        std::iter::once(Decision::SetAside(aside)).chain(starts).collect()
    }

    /// Restarts a child for another reason than a failure, and all whom its failure would have concerned.
    fn anew(&mut self, key: ChildKey, now: Duration) -> Vec<Decision> {
        let Some(child) = self.children.get_mut(&key) else { return Vec::new() };
        if child.restart == Restart::Temporary {
            return Vec::new();
        }
        child.failures = Failures::default();
        let restarts_in_window = self.window.count(now);
        self.restart(key, Duration::ZERO, restarts_in_window)
    }

    /// Stops all whom a restart of `key` concerns, last started first, and lets those that will return wait for one new ticket.
    fn restart(&mut self, key: ChildKey, delay: Duration, restarts_in_window: u32) -> Vec<Decision> {
        let ticket = self.ticket();
        let (mut decisions, mut restarting) = (Vec::new(), Vec::new());
        for concerned in self.rules.strategy.concerned(&self.children, key).into_iter().rev() {
            if concerned != key && self.children[&concerned].phase.is_aside() {
                continue;
            }
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
        decisions.push(Decision::Restart(Plan { ticket, child: key, restarting, delay, restarts_in_window }));
        decisions
    }

    fn due(&mut self, ticket: Ticket, now: Duration) -> Vec<Decision> {
        let released = self.children.iter().find(|(_, child)| child.phase == Phase::Quarantined(ticket));
        if let Some(key) = released.map(|(key, _)| *key) {
            return self.anew(key, now);
        }
        let waiting = self.children.iter_mut().filter(|(_, child)| child.phase == Phase::Waiting(ticket));
        waiting
            .map(|(key, child)| {
                child.phase = Phase::Starting;
                Decision::Start(*key)
            })
            .collect()
    }

    fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        ticket
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
