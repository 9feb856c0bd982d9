//! What kind of failure a call met.

use std::time::Duration;

use thiserror::Error;

/// Why a call brought no answer that can be used: all that a breaker and a retry need to know.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallFailure {
    /// The dependency is down, overloaded or too slow: it may be back soon.
    #[error("{cause}")]
    Transient {
        /// What happened.
        cause: String,
        /// How long the dependency asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The dependency understood and refused: asking again would be refused again.
    #[error("{0}")]
    Refused(String),
    /// The dependency answered, with something that is no answer.
    #[error("{0}")]
    Garbled(String),
}

impl CallFailure {
    /// A failure that may pass.
    pub fn transient(cause: impl Into<String>) -> Self {
        Self::Transient { cause: cause.into(), retry_after: None }
    }

    /// How long the dependency asked to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Transient { retry_after, .. } => *retry_after,
            Self::Refused(_) | Self::Garbled(_) => None,
        }
    }
}
