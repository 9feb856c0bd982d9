//! The ring of actors that turns a policy into a better policy.
//!
//! ```text
//! LEARNER -ticket-> ENVIRONMENT -begin-> CONVERSATION <-turns-> INFERENCE, ENVIRONMENT
//!    ^                                        |
//!    '---- completed ---- JUDGE <- trajectory-'          LEARNER -> CHECKPOINTER, HEALTH MONITOR
//! ```
//!
//! One synchronous round at a time: the learner issues a [`Ticket`](protocol::Ticket) for every episode of the round, and the round
//! ends when every ticket has come home, completed or aborted. A ticket that is dropped anywhere in the ring, because an actor
//! panicked, was killed, or lost its mailbox, sends itself home; so every crash is a retried episode, and none of the actors
//! contains recovery code. An episode is a pure function of its id and the weights, so a retry reproduces it bit for bit.
//!
//! | Folder       | Contents                                                                        |
//! |--------------|---------------------------------------------------------------------------------|
//! | [`protocol`] | what actors say to each other, and how they reach each other                    |
//! | [`policy`]   | what they decide: pure, without clocks, tasks or actors                         |
//! | one file per actor | the three moves: message to event, ask the policy, carry out the decision |
//!
//! Nobody here knows supervisors. Actors reach each other through a [`Port`](protocol::Port), which stays valid over restarts.

pub mod policy;
pub mod protocol;

mod checkpointer;
mod conversation;
mod environment;
mod guard;
mod health_monitor;
mod inference;
mod judge;
mod last_resort;
mod learner;
mod owed;
mod thread;

pub use checkpointer::{CheckpointerActor, CheckpointerArguments, JournalFactory, StoreFactory};
pub use conversation::{ConversationActor, ConversationArguments, ConversationSetup};
pub use environment::{ConversationSpawner, EnvironmentActor, EnvironmentArguments, SpawnFailed};
pub use guard::{Guard, GuardSettings};
pub use health_monitor::{HealthMonitorActor, HealthMonitorArguments, Restarter};
pub use inference::{EngineFactory, InferenceActor, InferenceArguments};
pub use judge::{Ask, JudgeActor, JudgeArguments, JudgeRefused, ModelJudge, ModelJudgeSettings};
pub use last_resort::LastResort;
pub use learner::{LearnerActor, LearnerArguments, LearnerFactory, LearnerFailure};
pub use thread::{Lease, ThreadEnded, ThreadReading};
