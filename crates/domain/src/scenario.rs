//! Scenarios: what an episode is about, fixed before it starts.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Check, ToolCall};

/// Which half of a kit a scenario belongs to. The halves never share a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// May be trained on.
    Train,
    /// Kept for evaluation.
    HeldOut,
}

/// One scenario: shared by the members of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// Unique within its environment.
    pub id: String,
    /// Which half of the kit it belongs to.
    pub split: Split,
    /// Standing instructions, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// What the user says, in order, and what each reply must do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub script: Vec<ScriptedTurn>,
    /// Whatever else a custom environment needs.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

/// One thing the user says and what the reply to it must do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScriptedTurn {
    /// The user's message.
    pub user: String,
    /// A tool call that must come before the reply, if the turn needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<ToolStep>,
    /// What the reply must do.
    pub check: Check,
}

/// A tool call that a turn needs, and what the tool answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolStep {
    /// The call the policy must make.
    pub call: ToolCall,
    /// What the tool returns for it.
    pub result: String,
}
