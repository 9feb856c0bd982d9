//! What is wrong with a configuration, told so that it can be put right without looking anything up.

use std::fmt;
use std::path::PathBuf;

use super::node::Place;

/// The texts that make up a configuration: the file, then each override.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    pub(super) file: PathBuf,
    pub(super) texts: Vec<String>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The key, such as `training.steps`; empty if the file as a whole is meant.
    pub key: String,
    /// What is wrong, found value included.
    pub message: String,
    /// Allowed values, or the range.
    pub allowed: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// Where it is written.
    pub excerpt: Option<Excerpt>,
}

/// The line on which something is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Excerpt {
    /// The file, or `--set`.
    pub source: String,
    /// The line, from 1.
    pub line: usize,
    /// The character within the line, from 1.
    pub column: usize,
    /// How many characters are meant.
    pub width: usize,
    /// The line itself.
    pub text: String,
}

/// Everything that is wrong with a configuration, in the order in which it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Problems {
    /// The file.
    pub file: PathBuf,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl Problems {
    /// Those of a configuration that no file holds.
    pub(crate) fn unwritten(problems: Vec<Problem>) -> Self {
        Self { file: "the configuration".into(), problems }
    }
}

impl Problem {
    /// A problem of `key`; where it is written is found out later.
    pub(crate) fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into(), allowed: None, help: None, excerpt: None }
    }

    pub(crate) fn allowed(self, allowed: impl Into<String>) -> Self {
        Self { allowed: Some(allowed.into()), ..self }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl Sources {
    pub(super) fn excerpt(&self, place: Place) -> Excerpt {
        let text = self.texts[place.source].lines().nth(place.line - 1).unwrap_or_default().to_owned();
        let room = (text.chars().count() + 1).saturating_sub(place.column).max(1);
        let source = if place.source == 0 { self.file.display().to_string() } else { "--set".to_owned() };
        Excerpt { source, line: place.line, column: place.column, width: place.width.min(room), text }
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}\n")?;
        }
        let count = self.problems.len();
        write!(f, "{}: {count} {}", self.file.display(), if count == 1 { "problem" } else { "problems" })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        let gutter = self.excerpt.as_ref().map_or(1, |excerpt| excerpt.line.to_string().len());
        if let Some(Excerpt { source, line, column, width, text }) = &self.excerpt {
            let caret = format!("{:indent$}{}", "", "^".repeat(*width), indent = column - 1);
            write!(f, "\n{:gutter$}--> {source}:{line}:{column}", "")?;
            write!(f, "\n{:gutter$} |\n{line} | {text}\n{:gutter$} | {caret}", "", "")?;
        }
        let allowed = self.allowed.iter().map(|allowed| ("allowed", allowed));
        for (label, note) in allowed.chain(self.help.iter().map(|help| ("help", help))) {
            write!(f, "\n{:gutter$} = {label}: {note}", "")?;
        }
        Ok(())
    }
}
