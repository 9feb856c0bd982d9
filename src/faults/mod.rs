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
use stateset_telemetry::JsonLines;
use stateset_training::CheckpointFolder;

use crate::cli::errors::AnotherRun;
use crate::config::{Config, Difference, FaultFile};
use crate::run_folder::{RunFiles, write_whole};
use crate::runtime::Records;
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
    /// Their injector in a run, which knows what has happened there already.
    pub(crate) fn meet(
        &self,
        config: &Config,
        environment: &dyn Environment,
        records: &Records,
    ) -> Result<Arc<Injector>> {
        let (plan, files, clock) = (self.plan(config, environment), records.files(), &records.clock);
        record(&files, &plan)?;
        let past = JsonLines::read(&files.events())?;
        let happened = Injector::happened(past.iter().map(|timed| &timed.event));
        let (now, turned) = (clock.clone(), clock.clone());
        let machine = Machine {
            now: Arc::new(move || now.read()),
            turn_back: Arc::new(move |by| turned.turn_back(by)),
            kill: Arc::new(kill_myself),
        };
        Ok(Arc::new(Injector::new(plan, &happened, records.events.clone(), machine)))
    }

    /// The plan for the run `config` in `environment`.
    fn plan(&self, config: &Config, environment: &dyn Environment) -> Plan {
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

/// Writes the plan down. A run that has one already goes on with that or not at all: its faults are known by their place in it.
fn record(files: &RunFiles, plan: &Plan) -> Result<()> {
    let (path, text) = (files.faults(), FaultFile::from(plan).to_yaml());
    match std::fs::read_to_string(&path) {
        Ok(recorded) if recorded != text => {
            let (recorded, now) = ("another plan".to_owned(), "this one".to_owned());
            let differences = vec![Difference { key: "faults.yaml".into(), recorded, now }];
            Err(AnotherRun { folder: files.folder().to_path_buf(), differences }.into())
        }
        Ok(_) => Ok(()),
        Err(_) => Ok(write_whole(&path, &text)?),
    }
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
