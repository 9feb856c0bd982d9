//! The contract of a world that a policy talks to, sans-IO: it decides what happens next and does nothing else.

use stateset_domain::{Message, Scenario, Split, Stream, ToolCall};
use thiserror::Error;

/// A world of scenarios.
pub trait Environment: Send + Sync {
    /// The `index`-th scenario of `split`. The same arguments always give the same scenario, and no scenario is in both splits.
    fn scenario(&self, split: Split, index: u64) -> Scenario;

    /// Begins an episode. `stream` drives the simulated user; the members of a group get the same one.
    ///
    /// # Errors
    /// If the scenario is not one of this environment's.
    fn start(&self, scenario: &Scenario, stream: Stream) -> Result<Start, EnvironmentError>;
}

/// The beginning of an episode.
pub struct Start {
    /// What is said before the policy's first reply: standing instructions, then the user.
    pub opening: Vec<Message>,
    /// The rest of the episode.
    pub session: Box<dyn Session>,
}

/// One episode in progress.
pub trait Session: Send {
    /// Answers one reply of the policy.
    ///
    /// # Errors
    /// If the world broke; a bad reply is not an error but a [`Step`] with no reward.
    fn step(&mut self, action: &Action) -> Result<Step, EnvironmentError>;
}

/// A reply of the policy, as read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Action {
    /// Its text, template tokens left out.
    pub text: String,
    /// The tool call it makes, if it makes one.
    pub call: Option<ToolCall>,
    /// It was cut off before it ended.
    pub truncated: bool,
}

/// What a reply led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What is said next; empty when the episode is over.
    pub observation: Vec<Message>,
    /// The reply's own reward, in `[0, 1]`; `None` where it is only a step on the way, such as a tool call.
    pub reward: Option<f32>,
    /// The episode is over, and whether it succeeded.
    pub done: Option<bool>,
}

/// Why an environment cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("environment: {0}")]
pub struct EnvironmentError(pub String);
