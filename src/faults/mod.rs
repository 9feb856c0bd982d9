//! Faults, carried out: a plan meets a run.
//!
//! The [injector](stateset_faults::Injector) is asked at every site. Engine, learner, store, reward and tools are decorated where the
//! parts are put together; actors are visited through their [probe](probe), messages on [their way](messages).

pub(crate) mod messages;
mod probe;

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use stateset_domain::{Engine, EngineError, Learner, LearnerError, Split, Store, StoreError};
use stateset_environments::Environment;
use stateset_faults::{
    FaultyEngine, FaultyEnvironment, FaultyLearner, FaultyReward, FaultyStore, Injector, Machine, Plan, Rhythm,
    Setting, Tear, random,
};
use stateset_rewards::Reward;
use stateset_telemetry::{EventSink, JsonLines};
use stateset_training::CheckpointFolder;

use crate::config::Config;
use crate::run_folder::RunFiles;
use crate::runtime::Clock;
use crate::supervise::lifeline::kill_myself;
pub(crate) use probe::FaultProbe;

/// The faults of a run: what was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Faults {
    /// These.
    Planned(Plan),
    /// As many a step, on average, drawn from the seed.
    Random {
        /// Faults a step.
        rate: f64,
        /// The seed.
        seed: u64,
        /// Whether somebody starts the process again when it is killed.
        watched: bool,
    },
}

impl Faults {
    /// The plan for the run `config` in `environment`.
    pub(crate) fn plan(&self, config: &Config, environment: &dyn Environment) -> Plan {
        match self {
            Self::Planned(plan) => plan.clone(),
            Self::Random { rate, seed, watched } => {
                let (steps, save_every) = (config.training.steps, config.training.save_every);
                let count = (rate * steps as f64).round() as usize;
                let setting = Setting { tools: has_tools(environment), watched: *watched };
                random(*seed, count, Rhythm { steps, save_every }, setting)
            }
        }
    }
}

/// Whether the world's tools are needed often enough to be worth breaking.
fn has_tools(environment: &dyn Environment) -> bool {
    let needed = |index| environment.scenario(Split::Train, index).script.iter().any(|turn| turn.tool.is_some());
    (0..16).any(needed)
}

/// An injector of `plan` for the run in `files`, which knows what has happened there already.
pub(crate) fn injector(
    plan: Plan,
    files: &RunFiles,
    events: Arc<dyn EventSink>,
    clock: &Clock,
) -> Result<Arc<Injector>> {
    let past = if files.events().exists() { JsonLines::read(&files.events())? } else { Vec::new() };
    let happened = Injector::happened(past.iter().map(|timed| &timed.event));
    let (now, turned) = (clock.clone(), clock.clone());
    let machine = Machine {
        now: Arc::new(move || now.read()),
        turn_back: Arc::new(move |by| turned.turn_back(by)),
        kill: Arc::new(kill_myself),
    };
    Ok(Arc::new(Injector::new(plan, &happened, events, machine)))
}

/// Lets engines fail.
pub(crate) fn engine(
    build: stateset_actors::EngineFactory,
    injector: &Arc<Injector>,
) -> stateset_actors::EngineFactory {
    let injector = injector.clone();
    Arc::new(move || -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(FaultyEngine::new(build()?, injector.clone())))
    })
}

/// Lets learners fail.
pub(crate) fn learner(
    build: stateset_actors::LearnerFactory,
    injector: &Arc<Injector>,
) -> stateset_actors::LearnerFactory {
    let injector = injector.clone();
    Arc::new(move || -> Result<Box<dyn Learner>, LearnerError> {
        Ok(Box::new(FaultyLearner::new(build()?, injector.clone())))
    })
}

/// Lets the store under `root` fail.
pub(crate) fn store(
    build: stateset_actors::StoreFactory,
    root: &Path,
    injector: &Arc<Injector>,
) -> stateset_actors::StoreFactory {
    let (injector, folder) = (injector.clone(), CheckpointFolder::reader(root));
    // A disk on which not even half a checkpoint can be written has torn it well enough.
    let tear: Tear = Arc::new(move |checkpoint| drop(folder.tear(checkpoint)));
    Arc::new(move |fence| -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(FaultyStore::new(build(fence)?, injector.clone(), tear.clone())))
    })
}

/// Lets a reward fail.
pub(crate) fn reward(inner: Arc<dyn Reward>, injector: &Arc<Injector>) -> Arc<dyn Reward> {
    Arc::new(FaultyReward::new(inner, injector.clone()))
}

/// Lets the tools of a world fail.
pub(crate) fn environment(inner: Arc<dyn Environment>, injector: &Arc<Injector>) -> Arc<dyn Environment> {
    Arc::new(FaultyEnvironment::new(inner, injector.clone()))
}
