//! Trains multi-turn conversational agents with reinforcement learning in a runtime of supervised actors.
//!
//! [`Runtime`] is the way in: it takes a [`config`], lets any part of it be replaced, and runs it to its result. The `stateset` command
//! is the same thing from a terminal.
//!
//! ```no_run
//! use stateset_agents::prelude::*;
//!
//! # async fn demo() -> anyhow::Result<()> {
//! let mut config = Config::from_file("config/quickstart.yaml")?;
//! config.training.steps = 20;
//! let reward = FnReward(|episode: &Trajectory| if episode.succeeded() { 1.0 } else { 0.0 });
//! let result = Runtime::builder().config(config).reward(reward).build()?.run().await?;
//! println!("{:?}", result.summary.trained);
//! # Ok(()) }
//! ```

mod bench;
mod chaos;
pub mod chat;
pub mod cli;
pub mod config;
mod data;
mod device;
mod doctor;
mod faults;
pub mod format;
mod inspect;
mod judge;
mod machine;
mod memory;
pub mod model;
mod pretrain;
pub mod report;
mod resume;
mod run_folder;
mod runtime;
mod score;
mod standing;
mod supervise;
mod topology;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use device::Device;
pub use faults::Faults;
pub use judge::KeyMissing;
pub use pretrain::pretrain;
pub use resume::Recorded;
pub use run_folder::{RunFiles, RunFolder, RunFolderError, write_whole};
pub use runtime::{
    Backends, HealthHandle, Interrupter, Listener, Reloader, RunResult, Runtime, RuntimeBuilder, Update, read_result,
};
pub use topology::{Kind, Kinds, ReloadRefused, Seat, SeatError};

/// What an application usually needs.
pub mod prelude {
    pub use crate::chat::Chat;
    pub use crate::config::Config;
    pub use crate::{Backends, Interrupter, Kind, RunResult, Runtime, Seat, SeatError, Update, model};
    pub use ractor::{Actor, ActorProcessingErr, ActorRef};
    pub use stateset_actors::protocol::{JudgeMsg, Port, Probe, Site, Visit};
    pub use stateset_domain::{
        Check, Message, Role, Sampling, Scenario, ScriptedTurn, Split, Stream, ToolCall, ToolStep, Trajectory,
    };
    pub use stateset_environments::{
        Action, DomainSpec, Environment, EnvironmentError, Ladder, ScriptedEnvironment, Session, Start, Step,
    };
    pub use stateset_rewards::{Composite, Criterion, EpisodeReward, FnReward, Reward, RewardError, Score};
    pub use stateset_telemetry::{Event, EventSink, ExitCause, Memory};
}
