//! Why an episode could not be finished. A failure is data: it is retried or recorded, and is never a reward of 0.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The boundary at which an episode failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "cause", rename_all = "snake_case")]
pub enum FailureKind {
    /// The inference engine refused, failed, or went away.
    Inference(String),
    /// The environment failed or went away.
    Environment(String),
    /// The judge failed or went away: the episode is unscored, not bad.
    Judge(String),
    /// A wait outlasted its deadline.
    Deadline(String),
    /// The conversation itself was lost before it could say why.
    Abandoned,
    /// The conversation outgrew the context window.
    ContextFull {
        /// Tokens that the next turn would have needed.
        tokens: usize,
        /// Tokens there is room for.
        limit: usize,
    },
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inference(cause) => write!(f, "inference failed: {cause}"),
            Self::Environment(cause) => write!(f, "environment failed: {cause}"),
            Self::Judge(cause) => write!(f, "judge failed: {cause}"),
            Self::Deadline(what) => write!(f, "deadline passed waiting for {what}"),
            Self::Abandoned => write!(f, "conversation was lost"),
            Self::ContextFull { tokens, limit } => {
                write!(f, "conversation needs {tokens} tokens, the context has {limit}")
            }
        }
    }
}
