//! A child's line in the live view: written by its supervisor and by whoever sends to it, read by anyone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ractor::ActorRef;
use serde::Serialize;
use stateset_telemetry::ExitCause;
use tokio::time::Instant;

use crate::dead_letters::{DeadLetters, DeadReason};
use crate::policy::ChildKey;
use crate::supervisor::Message;
use crate::{GaveUp, Strategy};

/// What a child is doing, as far as its supervisor knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not started yet, or ended for good.
    Down,
    /// Its start function runs.
    Starting,
    /// It takes messages.
    Up,
    /// It is taken down the ladder.
    Stopping,
    /// It is restarted when its wait is over.
    Waiting,
    /// It failed too often and is left alone for a while.
    Quarantined,
    /// It failed too often and is not restarted any more.
    Degraded,
    /// It could not be ended: it blocks a thread, and is left behind.
    Zombie,
}

/// One for all incarnations of a child, also over restarts of its supervisor.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: Arc<str>,
    /// The type of the messages it takes.
    message: &'static str,
    /// Messages that were sent and not yet handled.
    mailbox: AtomicU64,
    status: Mutex<Status>,
    /// Set when a supervisor takes the child in.
    dead: OnceLock<Arc<DeadLetters>>,
    branch: Mutex<Option<Arc<Branch>>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) state: State,
    pub(crate) since: Instant,
    /// When a wait or a quarantine ends.
    pub(crate) until: Option<Instant>,
    pub(crate) incarnation: u64,
    pub(crate) restarts: u64,
    pub(crate) last_exit: Option<ExitCause>,
    pub(crate) aside: Option<GaveUp>,
}

/// The lines of a supervisor's children.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) strategy: Strategy,
    /// The supervisor's current incarnation.
    pub(crate) supervisor: ActorRef<Message>,
    lines: Mutex<BTreeMap<ChildKey, (Arc<Line>, bool)>>,
}

impl Line {
    pub(crate) fn new(name: &str, message: &'static str) -> Arc<Self> {
        let status = Status {
            state: State::Down,
            since: Instant::now(),
            until: None,
            incarnation: 0,
            restarts: 0,
            last_exit: None,
            aside: None,
        };
        Arc::new(Self {
            name: name.into(),
            message,
            mailbox: AtomicU64::new(0),
            status: Mutex::new(status),
            dead: OnceLock::new(),
            branch: Mutex::new(None),
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut Status) -> R) -> R {
        f(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn status(&self) -> Status {
        self.with(|status| status.clone())
    }

    pub(crate) fn mailbox(&self) -> u64 {
        self.mailbox.load(Relaxed)
    }

    pub(crate) fn branch(&self) -> Option<Arc<Branch>> {
        self.branch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_branch(&self, branch: Arc<Branch>) {
        *self.branch.lock().unwrap_or_else(PoisonError::into_inner) = Some(branch);
    }

    pub(crate) fn adopt(&self, dead: &Arc<DeadLetters>) {
        // Taken in again by the next incarnation of the same supervisor: it is the same tree.
        let _ = self.dead.set(Arc::clone(dead));
    }

    /// Counted before it is sent, so that it cannot be handled before it is counted.
    pub(crate) fn sending(&self) {
        self.mailbox.fetch_add(1, Relaxed);
    }

    /// A message was handled, or could not be sent. What an actor sends to itself was never counted, so the count stops at zero: it may
    /// be too low for a moment, and is right again once the mailbox has been empty.
    pub(crate) fn gone(&self) {
        let _ = self.mailbox.fetch_update(Relaxed, Relaxed, |depth| depth.checked_sub(1));
    }

    /// Messages that reached nobody.
    pub(crate) fn bury(&self, reason: DeadReason, count: u64) {
        if let Some(dead) = self.dead.get() {
            dead.add(&self.name, self.message, reason, count);
        }
    }

    /// An incarnation begins; which.
    pub(crate) fn starting(&self) -> u64 {
        self.mailbox.store(0, Relaxed);
        self.with(|status| {
            status.incarnation += 1;
            status.aside = None;
            status.enter(State::Starting);
            status.incarnation
        })
    }

    pub(crate) fn up(&self) {
        self.with(|status| {
            status.restarts += u64::from(status.incarnation > 1);
            status.enter(State::Up);
        });
    }

    /// An incarnation is no more, and with it what it had not handled.
    pub(crate) fn ended(&self, cause: Option<&ExitCause>) {
        self.bury(DeadReason::Lost, self.mailbox.swap(0, Relaxed));
        self.with(|status| {
            status.last_exit = cause.cloned().or_else(|| status.last_exit.take());
            status.enter(State::Down);
        });
    }

    pub(crate) fn enter(&self, state: State) {
        self.with(|status| status.enter(state));
    }

    pub(crate) fn wait(&self, delay: Duration) {
        self.with(|status| {
            status.enter(State::Waiting);
            status.until = Some(Instant::now() + delay);
        });
    }

    pub(crate) fn set_aside(&self, why: GaveUp, quarantine: Option<Duration>) {
        self.with(|status| {
            status.enter(if quarantine.is_some() { State::Quarantined } else { State::Degraded });
            status.until = quarantine.and_then(|wait| Instant::now().checked_add(wait));
            status.aside = Some(why);
        });
    }

    /// Whether it is down until somebody asks for it.
    pub(crate) fn is_degraded(&self) -> bool {
        self.with(|status| status.state == State::Degraded)
    }
}

impl Status {
    fn enter(&mut self, state: State) {
        (self.state, self.since, self.until) = (state, Instant::now(), None);
    }
}

impl Branch {
    pub(crate) fn new(strategy: Strategy, supervisor: ActorRef<Message>) -> Arc<Self> {
        Arc::new(Self { strategy, supervisor, lines: Mutex::default() })
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<ChildKey, (Arc<Line>, bool)>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, key: ChildKey, line: Arc<Line>, dynamic: bool) {
        self.lines().insert(key, (line, dynamic));
    }

    pub(crate) fn remove(&self, key: ChildKey) {
        self.lines().remove(&key);
    }

    /// The children in start order, and whether they were added later.
    pub(crate) fn children(&self) -> Vec<(Arc<Line>, bool)> {
        self.lines().values().cloned().collect()
    }
}
