//! A run, from its parts to its result.
//!
//! ```no_run
//! # async fn demo() -> anyhow::Result<()> {
//! use stateset_agents::prelude::*;
//!
//! let runtime = Runtime::builder().config_file("config/quickstart.yaml", &[])?.build()?;
//! let result = runtime.run().await?;
//! println!("{:.0} %", 100.0 * result.summary.trained.map_or(0.0, |trained| trained.success_rate));
//! # Ok(()) }
//! ```

mod backends;
mod builder;
mod clock;
mod outcome;
mod recorder;
mod records;
mod reload;
mod settings;
mod watch;
mod world;

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use stateset_actors::LastResort;
use stateset_actors::policy::{HealthBoard, HealthStatus};
use stateset_actors::protocol::{FinishReason, Instruments, RunFinished, Vitals};
use stateset_domain::Dependency;
use stateset_faults::Injector;
use stateset_telemetry::EventSink;
use stateset_training::MemoryPlan;
use tokio::sync::{mpsc, oneshot};

use crate::inspect::{Seen, Server};
use crate::run_folder::RunFiles;
use crate::topology::{Current, Kinds, Parts, Topology};

pub use backends::Backends;
pub(crate) use backends::STEP_TOKENS;
pub use builder::RuntimeBuilder;
pub(crate) use clock::Clock;
use outcome::Measured;
pub use outcome::read_result;
use recorder::Recorder;
pub use recorder::{Listener, Update};
pub(crate) use records::Records;
pub use reload::Reloader;
pub(crate) use settings::{learner_settings, undoable};
use watch::LateView;

/// A run that is ready to begin.
pub struct Runtime {
    records: Records,
    current: Current,
    kinds: Kinds,
    parts: Unwired,
    instruments: Instruments,
    listener: Option<Listener>,
    /// Ends the process.
    last_resort: Option<Arc<dyn Fn() + Send + Sync>>,
    interrupts: (mpsc::Sender<()>, mpsc::Receiver<()>),
    reloads: (mpsc::Sender<reload::Request>, mpsc::Receiver<reload::Request>),
    injector: Option<Arc<Injector>>,
    memory: Option<MemoryPlan>,
}

/// The parts that do not depend on the run's folder.
struct Unwired {
    plan: stateset_actors::policy::Plan,
    policies: Arc<stateset_actors::policy::Policies>,
    environment: Arc<dyn stateset_environments::Environment>,
    reward: Arc<dyn stateset_rewards::Reward>,
    judge: Option<Arc<stateset_actors::ModelJudge>>,
    format: stateset_chat::ChatFormat,
    engine: stateset_actors::EngineFactory,
    learner: stateset_actors::LearnerFactory,
    store: stateset_actors::StoreFactory,
    journal: stateset_actors::JournalFactory,
}

/// What a run came to.
#[derive(Debug)]
pub struct RunResult {
    /// Where everything about it is.
    pub files: RunFiles,
    /// Its numbers.
    pub summary: crate::report::Summary,
    /// Whether it took every step, was asked to stop, or stopped by itself.
    pub reason: FinishReason,
}

/// Ends a run early, from anywhere.
#[derive(Clone)]
pub struct Interrupter(mpsc::Sender<()>);

impl Interrupter {
    /// Asks the run to save and end after the step it is at.
    pub fn interrupt(&self) {
        // Full means that it was asked before.
        let _ = self.0.try_send(());
    }
}

/// Tells how a run is doing, from anywhere, even while every mailbox is stuck.
#[derive(Debug, Clone)]
pub struct HealthHandle(Arc<HealthBoard>);

impl HealthHandle {
    /// How the run is doing: a level, the last step's signals, what is the matter, and what should be done about it.
    #[must_use]
    pub fn get_health_status(&self) -> HealthStatus {
        self.0.read()
    }
}

impl Runtime {
    /// Begins to describe a run.
    #[must_use]
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// Where the run's files are.
    #[must_use]
    pub fn files(&self) -> RunFiles {
        self.records.files()
    }

    /// What a step takes of memory, if the run has a budget.
    #[must_use]
    pub fn memory_plan(&self) -> Option<&MemoryPlan> {
        self.memory.as_ref()
    }

    /// What is run.
    #[must_use]
    pub fn config(&self) -> crate::config::Config {
        self.current.now().config.clone()
    }

    /// Counters that can be read while it runs.
    #[must_use]
    pub fn vitals(&self) -> Arc<Vitals> {
        self.instruments.vitals.clone()
    }

    /// How the run is doing, to be asked while it runs.
    #[must_use]
    pub fn health(&self) -> HealthHandle {
        HealthHandle(self.instruments.health.clone())
    }

    /// A live count of restarts.
    pub fn restarts(&self) -> impl Fn() -> u64 + Send + Sync + use<> {
        let restarts = self.records.restarts.clone();
        move || restarts.count()
    }

    /// What the run depends on that is not ours, for a view of how it is doing. None of them waits for an actor to answer.
    #[must_use]
    pub fn dependencies(&self) -> Vec<Arc<dyn Dependency>> {
        self.parts.judge.iter().map(|judge| Arc::clone(judge) as Arc<dyn Dependency>).collect()
    }

    /// Ends the run early.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(self.interrupts.0.clone())
    }

    /// Lets the run go on with another configuration.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader(self.reloads.0.clone())
    }

    /// Tells the faults, if there are any, how far the run is, and then whoever listens.
    fn listener(&mut self) -> Option<Listener> {
        let listener = self.listener.take();
        let Some(injector) = self.injector.clone() else { return listener };
        Some(Arc::new(move |update| {
            match update {
                Update::Restored(step) => injector.at_step(*step),
                Update::Step(metrics) => injector.at_step(metrics.step),
                Update::Evaluated(_) => {}
            }
            listener.iter().for_each(|listener| listener(update));
        }))
    }

    /// Runs to the end and writes `summary.json` and `report.html`.
    ///
    /// # Errors
    /// If the supervision tree gave up, with the whole chain of causes, or the result could not be written. Everything up to the last
    /// checkpoint is kept, and the run can be resumed.
    pub async fn run(mut self) -> Result<RunResult> {
        let (sender, finished) = oneshot::channel();
        let dependencies = self.dependencies();
        let standing = self.current.now();
        let log_size = standing.config.run.log_size;
        let recorder = Arc::new(Recorder::open(self.records.files(), log_size, self.listener(), sender)?);
        let Unwired { plan, policies, environment, reward, judge, format, engine, learner, store, journal } =
            self.parts;
        let (observer, instruments) = (recorder.clone(), self.instruments.clone());
        let seed = plan.seed;
        let (view, deadlines) = (LateView::of(&standing.blueprint), &standing.config.supervision.deadlines);
        let stuck = deadlines.stall * 2 + deadlines.thread;
        let restart = view.restarter();
        let parts = Parts {
            plan,
            policies,
            environment,
            reward,
            judge,
            format,
            engine,
            learner,
            store,
            journal,
            observer,
            instruments,
            restart,
            injector: self.injector.clone(),
        };
        let mut topology = Topology::start(parts, self.current.clone(), &self.kinds).await?;
        view.set(topology.view());
        let last_resort = self.last_resort.take().unwrap_or_else(|| Arc::new(|| ()));
        let watch = LastResort::watch(stuck, self.instruments.clone(), move || last_resort())
            .context("cannot watch over the run")?;
        let (run, instruments) = (self.records.files().folder().to_path_buf(), self.instruments.clone());
        let own = self.records.clock.clone();
        let (view, recent, clock) = (topology.view(), self.records.recent.clone(), Box::new(move || own.read()));
        let seen = Seen { run, view, instruments, dependencies, recent, clock };
        let server = Server::start(&self.records.files(), seen);
        // One that cannot be looked into runs all the same.
        let server = server.inspect_err(|error| tracing::warn!("the run cannot be inspected: {error}"));
        let requests = Requests {
            interrupts: &mut self.interrupts.1,
            reloads: &mut self.reloads.1,
            kinds: &self.kinds,
            files: &self.records.files(),
            events: &*self.instruments.events,
        };
        let outcome = drive(&mut topology, finished, requests).await;
        drop((watch, server));
        topology.shutdown().await;
        let finished = outcome?;
        if let Some(unsaved) = &finished.unsaved {
            return Err(anyhow!("the final state is not on disk: {unsaved}"));
        }
        if let Some(failure) = recorder.failure() {
            return Err(anyhow!("the run's records are incomplete: {failure}"));
        }
        let (wall, health) = (self.records.clock.read(), self.instruments.health.read());
        let measured = Measured { seed, finished: &finished, wall, health };
        let summary = outcome::conclude(&self.records.files(), &self.current.now().config, &measured)?;
        Ok(RunResult { files: self.records.files(), summary, reason: finished.reason })
    }
}

/// What may come in while a run goes on.
struct Requests<'a> {
    interrupts: &'a mut mpsc::Receiver<()>,
    reloads: &'a mut mpsc::Receiver<reload::Request>,
    kinds: &'a Kinds,
    files: &'a RunFiles,
    events: &'a dyn EventSink,
}

/// Waits until the run has ended, one way or another.
async fn drive(
    topology: &mut Topology,
    mut finished: oneshot::Receiver<RunFinished>,
    requests: Requests<'_>,
) -> Result<RunFinished> {
    let Requests { interrupts, reloads, kinds, files, events } = requests;
    loop {
        tokio::select! {
            finished = &mut finished => return finished.context("the run ended without a word"),
            gave_up = topology.ended() => {
                return match gave_up {
                    Err(gave_up) => Err(anyhow::Error::new(gave_up).context("the runtime gave up; resume the run with --resume")),
                    Ok(()) => Err(anyhow!("the actors ended before the run did")),
                };
            }
            Some(()) = interrupts.recv() => topology.interrupt(),
            Some(request) = reloads.recv() => reload::carry_out(request, topology, kinds, files, events).await,
        }
    }
}
