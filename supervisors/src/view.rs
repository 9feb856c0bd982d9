//! The tree as it is now, readable from any thread without asking anyone: also when every actor is stuck.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use serde::Serialize;
use stateset_telemetry::ExitCause;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::dead_letters::DeadLetters;
use crate::line::{Line, State, Status};
use crate::supervisor::Message;
use crate::{CallError, GaveUp, RestartError, SupervisorHandle};

/// A way to look at a tree. It stays readable after the tree has ended.
#[derive(Debug, Clone)]
pub struct View {
    root: Arc<Line>,
    dead: Arc<DeadLetters>,
}

/// A child, or the root, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub state: State,
    /// Since when, in seconds before now.
    pub for_seconds: f64,
    /// Seconds until a wait or a quarantine ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_seconds: Option<f64>,
    /// Which incarnation it is, from 1; 0 before the first start.
    pub incarnation: u64,
    /// How often it was started again.
    pub restarts: u64,
    /// How it ended last, if it ever did of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<ExitCause>,
    /// Why it is set aside, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aside: Option<GaveUp>,
    /// Messages sent through its handle and not yet handled. What it sends to itself is not counted.
    pub mailbox: u64,
    /// Whether it was added while its supervisor ran.
    pub dynamic: bool,
    /// Whom a failure of its children concerns, if it is a supervisor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<&'static str>,
    /// Its children in start order, if it is a supervisor.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Node>,
}

impl View {
    pub(crate) fn new(root: &SupervisorHandle, dead: Arc<DeadLetters>) -> Self {
        Self { root: root.line().clone(), dead }
    }

    pub(crate) fn root(&self) -> &Line {
        &self.root
    }

    /// Everyone, now.
    #[must_use]
    pub fn snapshot(&self) -> Node {
        Node::of(&self.root, false, Instant::now())
    }

    /// Restarts `child` on purpose, and all whom its failure would have concerned: they are taken down the ladder, and started at once.
    /// If the child is a supervisor, its whole subtree goes and comes with it. That is no failure: it counts in no window and waits for
    /// nothing. A child that is down, waiting or set aside is started too, with a clean record. Resolves when the old incarnations are
    /// gone.
    ///
    /// # Errors
    /// [`RestartError`].
    pub async fn restart(&self, child: &str, deadline: Duration) -> Result<(), RestartError> {
        let unknown = || RestartError::Unknown { child: child.into() };
        let (supervisor, name) = parent(&self.root, child).ok_or_else(unknown)?;
        let (reply, answer) = oneshot::channel();
        let asked = supervisor.send_message(Message::Restart { child: child.into(), reply: (reply, deadline).into() });
        asked.map_err(|_| CallError::Down { child: Arc::clone(&name) })?;
        match timeout(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(CallError::Dropped { child: name }.into()),
            Err(_) => Err(CallError::Deadline { child: name, after: deadline }.into()),
        }
    }

    /// What reached nobody.
    #[must_use]
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.dead
    }
}

/// The supervisor of the first child of that name, and its name.
fn parent(line: &Line, child: &str) -> Option<(ActorRef<Message>, Arc<str>)> {
    let branch = line.branch()?;
    let children = branch.children();
    if children.iter().any(|(line, _)| &*line.name == child) {
        return Some((branch.supervisor.clone(), Arc::clone(&line.name)));
    }
    children.iter().find_map(|(line, _)| parent(line, child))
}

impl Node {
    fn of(line: &Line, dynamic: bool, now: Instant) -> Self {
        let Status { state, since, until, incarnation, restarts, last_exit, aside } = line.status();
        let branch = line.branch();
        let children = branch.iter().flat_map(|branch| branch.children());
        Self {
            name: line.name.to_string(),
            state,
            for_seconds: now.saturating_duration_since(since).as_secs_f64(),
            left_seconds: until.map(|until| until.saturating_duration_since(now).as_secs_f64()),
            incarnation,
            restarts,
            last_exit,
            aside,
            mailbox: line.mailbox(),
            dynamic,
            strategy: branch.as_ref().map(|branch| branch.strategy.name()),
            children: children.map(|(child, dynamic)| Self::of(&child, dynamic, now)).collect(),
        }
    }

    /// The child of that name, wherever it is below.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Self> {
        if self.name == name { Some(self) } else { self.children.iter().find_map(|child| child.find(name)) }
    }
}
