//! A run as configured: read, checked, and written down again.
//!
//! [`load`] goes through three stages and reports what is wrong in all of them at once, each problem at its own line:
//!
//! 1. the YAML file becomes a tree that knows where everything stands, and every `--set key=value` is laid over it;
//! 2. the tree becomes a [`Config`]; unknown keys and values of the wrong type are collected;
//! 3. [`validate`] judges what each value means, alone and beside the others. It is pure: what it must know of its surroundings (which
//!    files exist, which rungs a domain has) is handed to it.

mod change;
mod duration;
mod faults;
mod findings;
mod fingerprint;
mod implied;
mod judge;
mod load;
mod lora;
mod model;
mod node;
mod offline;
mod overrides;
mod policies;
mod pretrain;
mod problem;
mod read;
mod rollouts;
mod schema;
mod size;
mod suggest;
mod supervision;
mod topology;
mod units;
mod validate;

#[cfg(test)]
mod tests;

pub use change::{Change, Effect};
pub use faults::{FaultEntry, FaultFile, Lasting, load_faults};
pub use fingerprint::{Difference, Fingerprint};
pub use judge::{Breaker, Judge};
pub use load::{load, load_pretraining};
pub use lora::Lora;
pub use model::{Agent, Config, Environment, Evaluation, Logging, Rewards, Run, Training, Verbosity};
pub use policies::{Directives, EarlyStopping, Policy};
pub use pretrain::{Architecture, Pretraining, Share};
pub use problem::{Excerpt, Problem, Problems};
pub use rollouts::Rollouts;
pub use schema::schema;
pub use stateset_algorithms::Algorithm;
pub(crate) use suggest::{nearest, quoted};
pub use supervision::{Backoff, Deadlines, Restarts, Supervision};
pub use topology::{
    ActorDefaults, ActorNode, AutoShutdownName, CoolOff, OnExceeded, Params, Pool, RestartWhen, Shutdown, StrategyName,
    SupervisorNode, Topology,
};
pub use validate::{Surroundings, validate};
