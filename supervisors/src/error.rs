//! What can go wrong, as values.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use stateset_telemetry::ExitCause;
use thiserror::Error;

use crate::CallError;
use crate::policy::GiveUpReason;

/// Why a child could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StartError {
    /// It refused: its start function or its first hook returned an error, or that hook panicked.
    #[error("{0}")]
    Refused(String),
    /// Its start function panicked.
    #[error("the start function panicked: {0}")]
    Panicked(String),
    /// It took too long.
    #[error("it was not up within {0:?}")]
    Deadline(Duration),
    /// It is a supervisor, and one of its own children could not be started.
    #[error("its child {child}: {source}")]
    Child {
        /// That child.
        child: String,
        /// Why not.
        source: Box<StartError>,
    },
}

/// Why a child could not be added to a running supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpawnError {
    /// The supervisor did not answer. The child is not, or not for long, running.
    #[error(transparent)]
    Supervisor(#[from] CallError),
    /// The child could not be started.
    #[error("{child} could not be started: {source}")]
    Start {
        /// The child.
        child: String,
        /// Why not.
        source: StartError,
    },
}

/// Why a child could not be restarted on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RestartError {
    /// The supervisor did not answer. The child may yet be restarted.
    #[error(transparent)]
    Supervisor(#[from] CallError),
    /// There is no such child, or it is a temporary one, which is never restarted.
    #[error("there is no {child} that could be restarted")]
    Unknown {
        /// The child.
        child: String,
    },
}

/// Why a supervisor ended of itself, or set a child aside: the end of a causal chain that begins with a failing child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GaveUp {
    /// The supervisor.
    pub supervisor: String,
    /// The child whose failure was one too many.
    pub child: String,
    /// How that child failed.
    pub cause: ExitCause,
    /// Why that was not answered with a restart.
    pub reason: GiveUpReason,
    /// Restarts within the supervisor's window, the one that was refused included.
    pub restarts_in_window: u32,
    /// If the child is itself a supervisor that gave up: why.
    pub inner: Option<Box<GaveUp>>,
}

impl GaveUp {
    /// The failure that began it all: the innermost child, and how it failed.
    #[must_use]
    pub fn root_cause(&self) -> (&str, &ExitCause) {
        match &self.inner {
            Some(inner) => inner.root_cause(),
            None => (&self.child, &self.cause),
        }
    }

    /// The children that failed, from this supervisor's to the innermost.
    #[must_use]
    pub fn chain(&self) -> Vec<String> {
        let links = std::iter::successors(Some(self), |link| link.inner.as_deref());
        links.map(|link| link.child.clone()).collect()
    }
}

impl std::error::Error for GaveUp {}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "supervisor {} gave up, ", self.supervisor)?;
        match self.reason {
            GiveUpReason::TooManyRestarts => write!(f, "restart {} being one too many", self.restarts_in_window)?,
            GiveUpReason::ChildTooManyRestarts => {
                write!(f, "restart {} of one child being one too many", self.restarts_in_window)?;
            }
            GiveUpReason::Unstoppable => f.write_str("unable to end a child")?,
        }
        write!(f, ": {}", self.child)?;
        match (&self.inner, &self.cause) {
            (Some(inner), _) => write!(f, " ended: {inner}"),
            (None, ExitCause::Normal) => f.write_str(" ended"),
            (None, ExitCause::Error(text)) => write!(f, " failed: {text}"),
            (None, ExitCause::Panic(text)) => write!(f, " panicked: {text}"),
            (None, ExitCause::Killed) => f.write_str(" was killed"),
            (None, ExitCause::StartFailed(text)) => write!(f, " could not be started: {text}"),
        }
    }
}
