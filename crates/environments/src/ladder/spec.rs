//! A support domain as data: what users ask for, what is right to do, and how demonstrations of it go wrong.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A support domain, read from YAML.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainSpec {
    /// Its name, the first part of every scenario's id: lower-case letters, digits and `_`.
    pub name: String,
    /// Standing instructions, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// How account references look.
    pub account: AccountFormat,
    /// What the assistant can do, by name.
    pub remedies: BTreeMap<String, Remedy>,
    /// What the assistant can call, by name.
    #[serde(default)]
    pub tools: BTreeMap<String, Tool>,
    /// What can be wrong and is put right without looking anything up, by name.
    pub issues: BTreeMap<String, Issue>,
    /// What can be wrong and has to be looked up first, by name.
    #[serde(default)]
    pub lookups: BTreeMap<String, Lookup>,
    /// How things are said.
    pub wordings: Wordings,
    /// How demonstrations go wrong.
    #[serde(default)]
    pub mistakes: Mistakes,
    /// The difficulties, by name.
    pub rungs: BTreeMap<String, Rung>,
}

/// How account references look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountFormat {
    /// The characters they are drawn from: upper-case ASCII letters and digits, each once.
    pub alphabet: String,
    /// How many characters they have.
    pub length: usize,
}

/// Something the assistant can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remedy {
    /// How the assistant says it: `i will send it again`.
    pub wording: String,
    /// How the user refuses it: `reshipment`.
    pub noun: String,
    /// The text that shows it was done, such as `[reship]`. Nothing else that is said contains it.
    pub proof: String,
}

/// A tool that looks up an account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// The argument that takes the account reference.
    pub argument: String,
    /// The field of the result that holds what was found.
    pub field: String,
    /// The error for a call it has no answer to.
    pub unknown: String,
}

/// Something that is put right by one remedy, or by another if the user refuses the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issue {
    /// How a user says it.
    pub phrasings: Vec<String>,
    /// The right remedy.
    pub remedy: String,
    /// The right remedy if the user refuses the first.
    pub instead: String,
    /// A wrong remedy that demonstrations tend to choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub habit: Option<Habit>,
}

/// A wrong remedy that demonstrations tend to choose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Habit {
    /// The wrong remedy.
    pub remedy: String,
    /// How often, in `[0, 1]`. Above a half, greedy imitation is wrong every time.
    pub rate: f64,
}

/// Something whose right remedy depends on what a tool finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    /// How a user says it.
    pub phrasings: Vec<String>,
    /// The tool to call.
    pub tool: String,
    /// The right remedy by what the tool finds.
    pub outcomes: BTreeMap<String, String>,
}

/// How things are said. Every list is drawn from evenly; `{...}` marks where a value goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wordings {
    /// The user's first turn: `{account}`, `{issue}`.
    pub opening: Vec<String>,
    /// The user's further issues: `{issue}`.
    pub further: Vec<String>,
    /// An issue whose first remedy is refused: `{issue}`, `{noun}`.
    pub refusal: Vec<String>,
    /// The user's request for a summary.
    pub closing: Vec<String>,
    /// The assistant's reply to an issue: `{wording}`, `{account}`, `{proof}`.
    pub reply: String,
    /// The assistant's summary: `{account}`, `{proofs}`.
    pub summary: String,
}

/// How demonstrations go wrong: rates in `[0, 1]`, each drawn independently where it applies. Absent ones are 0.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mistakes {
    /// A reply after the first garbles one character of the account reference.
    pub wrong_account: f64,
    /// A reply offers the very remedy that the user refused.
    pub ignores_refusal: f64,
    /// A reply guesses a remedy where it should have looked it up.
    pub skips_tool: f64,
    /// A summary leaves out one of the things done.
    pub forgets_item: f64,
}

/// A difficulty: how many issues an episode has, and of which kinds. A summary always follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// Issues in all.
    pub issues: usize,
    /// How many of them come with a refusal. An issue that needs the tool never does.
    pub refusals: usize,
    /// How many of them need a tool: an episode draws one of these numbers.
    pub lookups: Vec<usize>,
}

/// Something wrong with a domain spec.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path}: {what}")]
pub struct Problem {
    /// Where, as keys joined by dots.
    pub path: String,
    /// What was found and what is allowed.
    pub what: String,
}

/// Why a domain spec cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpecError {
    /// It is not YAML, or not of this shape; the text names line and column.
    #[error("cannot read the domain spec: {0}")]
    Malformed(String),
    /// It has the right shape but makes no sense. Every problem is listed.
    #[error("the domain spec has {} problem(s):{}", .0.len(), .0.iter().map(|p| format!("\n  {p}")).collect::<String>())]
    Invalid(Vec<Problem>),
    /// It has no such rung.
    #[error("there is no rung `{name}`; the domain has {}", .known.join(", "))]
    UnknownRung {
        /// The rung asked for.
        name: String,
        /// The rungs there are.
        known: Vec<String>,
    },
}

impl DomainSpec {
    /// Reads and validates a domain spec.
    ///
    /// # Errors
    /// [`SpecError::Malformed`] or [`SpecError::Invalid`].
    pub fn from_yaml(text: &str) -> Result<Self, SpecError> {
        let spec: Self = serde_saphyr::from_str(text).map_err(|error| SpecError::Malformed(error.to_string()))?;
        spec.validate()?;
        Ok(spec)
    }

    /// Checks that it makes sense.
    ///
    /// # Errors
    /// [`SpecError::Invalid`] with every problem.
    pub fn validate(&self) -> Result<(), SpecError> {
        let problems = super::validate::problems(self);
        if problems.is_empty() { Ok(()) } else { Err(SpecError::Invalid(problems)) }
    }
}
