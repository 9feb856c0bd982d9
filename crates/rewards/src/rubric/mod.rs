//! What a judge is asked, and how its answer is read. Nothing here asks.
//!
//! A conversation is handed over as data: one JSON object a line, between two lines that cannot occur in it, because line breaks and
//! angle brackets are written as escapes. So a reply can neither end the quotation nor begin one; what it says to the judge is said
//! inside a string, and the judge is told what that means.
//!
//! An answer counts if it is one JSON object that gives every criterion, and no other, a whole number in range. Anything else is a
//! [`JudgementError`]: there is no score that stands in for a missing one.

mod cache;
mod judgement;
mod prompt;

use serde::{Deserialize, Serialize};
use stateset_domain::{Message, Trajectory, sha256_hex};

pub use cache::JudgementCache;
pub use judgement::{Judgement, JudgementError};

/// One thing a judge looks at.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Criterion {
    /// Names it in the judge's answer: letters, digits and `_`.
    pub name: String,
    /// What it counts beside the others.
    pub weight: f32,
    /// What the judge is told about it.
    pub description: String,
}

/// What a judge looks at, and on which scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Rubric {
    /// What it looks at. At least one, no two with the same name, weights above 0.
    pub criteria: Vec<Criterion>,
    /// The best score of a criterion; the worst is 0. At least 1.
    pub max_score: u32,
}

impl Rubric {
    /// What a judge is sent about `trajectory`: a function of the rubric and of what was said.
    #[must_use]
    pub fn messages(&self, trajectory: &Trajectory) -> Vec<Message> {
        prompt::messages(self, trajectory)
    }

    /// Reads a judge's answer.
    ///
    /// # Errors
    /// [`JudgementError`], by what is wrong with it.
    pub fn read(&self, answer: &str) -> Result<Judgement, JudgementError> {
        judgement::read(self, answer)
    }
}

/// Names what `model` was asked: equal names, equal questions.
#[must_use]
pub fn question_digest(model: &str, messages: &[Message]) -> String {
    let asked = serde_json::to_vec(&(model, messages)).expect("texts always serialise");
    sha256_hex(&asked)
}

#[cfg(test)]
mod tests;
