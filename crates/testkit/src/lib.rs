//! Scripted fakes and fault injection for tests.
//!
//! Each fake keeps its contract to the letter and is deterministic, so that what is tested is whoever uses it.
//!
//! | Fake                  | Stands for    | What it does                                                       |
//! |-----------------------|---------------|--------------------------------------------------------------------|
//! | [`ScriptedEngine`]    | `Engine`      | replies what a closure says                                        |
//! | [`DeafEngine`]        | `Engine`      | loads other weights than it is given                               |
//! | [`CountingLearner`]   | `Learner`     | adds up what it is trained on; equal digests mean equal histories  |
//! | [`MemoryStore`]       | `Store`       | keeps checkpoints in memory that outlives it; can be made to fail  |
//! | [`MemoryJournal`]     | `Journal`     | keeps entries in memory that outlives it; can be made to fail      |
//! | [`CharTokenizer`]     | `Tokenizer`   | one token a character                                              |
//! | [`EchoEnvironment`]   | `Environment` | says a word each turn and wants to hear it back                    |
//! | [`MeanTurnReward`]    | `Reward`      | the mean of the turn rewards                                       |
//! | [`FaultInjector`]     | `Probe`       | panics at a chosen visit of a chosen actor, once                   |

mod chat_server;
mod engine;
mod fault;
mod hub_server;
mod journal;
mod learner;
mod store;
mod tokenizer;
mod world;

pub use chat_server::{Asked, Canned, ChatServer, Conduct};
pub use engine::{DeafEngine, ScriptedEngine};
pub use fault::FaultInjector;
pub use hub_server::{HubConduct, HubRequest, HubServer};
pub use journal::MemoryJournal;
pub use learner::{CountingLearner, Listener};
pub use store::MemoryStore;
pub use tokenizer::CharTokenizer;
pub use world::{EchoEnvironment, MeanTurnReward};
