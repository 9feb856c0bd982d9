//! The words every other crate speaks.
//!
//! Conversations, trajectories, groups, scenarios, failures and policies as plain values, and the five small contracts
//! ([`Engine`], [`Learner`], [`Store`], [`Journal`], [`Tokenizer`]) on which the concurrency wing and the numerics wing meet. Nothing here
//! reads a clock, spawns, or knows about tensors or actors.

mod breaker;
mod check;
mod checkpoint;
mod contracts;
mod directive;
mod failure;
mod fence;
mod generation;
mod group;
mod ids;
mod journal;
mod message;
mod metrics;
mod policy;
mod random;
mod scenario;
mod trajectory;

pub use breaker::{BreakerState, Dependency, DependencyReading};
pub use check::{Check, Verdict};
pub use checkpoint::{Artifact, Checkpoint, EpisodeCounts, Progress};
pub use contracts::{
    Engine, EngineError, Journal, Learner, LearnerError, Store, StoreError, Tokenizer, TokenizerError,
};
pub use directive::{Action, Adjustments, Change, Directive, Ruling, Scaling};
pub use failure::FailureKind;
pub use fence::Fence;
pub use generation::{Completion, Finish, Finished, GenerateRequest, Poll, Sampling};
pub use group::{Group, is_flat};
pub use ids::{EpisodeId, GroupId, PolicyVersion, Purpose, RequestId};
pub use journal::{Durability, Entry, Record, Replay};
pub use message::{Message, Role, ToolCall};
pub use metrics::{StepMetrics, StepReport};
pub use policy::{Digest, NamedTensor, PolicySnapshot, sha256_hex};
pub use random::Stream;
pub use scenario::{Scenario, ScriptedTurn, Split, ToolStep};
pub use trajectory::{Outcome, RewardTerm, Trajectory, TurnSpan};
