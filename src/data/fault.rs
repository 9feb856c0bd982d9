//! What is wrong with a line of a file.

use std::fmt::Display;

use crate::config::{Problem, nearest};

/// One thing that is wrong with a line; the file and the line's number are somebody else's to know.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    message: String,
    allowed: String,
    help: Option<String>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { message: message.into(), allowed: allowed.into(), help: None }
    }

    /// Asks, in the words of `ask`, about whichever of `candidates` comes near `name`.
    pub(super) fn near<'a>(
        self,
        name: &str,
        candidates: impl IntoIterator<Item = &'a str>,
        ask: impl FnOnce(&str) -> String,
    ) -> Self {
        Self { help: nearest(name, candidates).map(ask), ..self }
    }

    /// The problem that it is to whoever reads about `key`.
    pub(super) fn problem(self, key: &str, place: impl Display) -> Problem {
        let Self { message, allowed, help } = self;
        Problem { help, ..Problem::new(key, format!("{place}: {message}")).allowed(allowed) }
    }
}
