//! Describing a run: a configuration, and whatever of it is to be replaced by one's own.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use stateset_actors::protocol::{Instruments, Probe, Unprobed};
use stateset_actors::{JournalFactory, StoreFactory};
use stateset_domain::{Journal, Store, StoreError};
use stateset_environments::Environment;
use stateset_faults::Injector;
use stateset_journal::JournalFolder;
use stateset_models::Pretrained;
use stateset_rewards::Reward;
use stateset_telemetry::EventSink;
use stateset_training::CheckpointFolder;
use tokio::sync::mpsc;

use super::backends::Prepared;
use super::records::Records;
use super::world::World;
use super::{Backends, Listener, Runtime, Unwired, settings};
use crate::config::{Config, Problems};
use crate::faults::{FaultProbe, Faults};
use crate::judge::Prospect;
use crate::resume;
use crate::run_folder::RunFiles;
use crate::topology::{Blueprint, Current, Kind, Kinds};

/// The journal is deleted segment by segment, so this is how much more of it there may be than is needed.
const SEGMENT_BYTES: u64 = 4 << 20;

/// Describes a run.
#[derive(Default)]
pub struct RuntimeBuilder {
    config: Config,
    kinds: Kinds,
    resume: bool,
    model: Option<Pretrained>,
    environment: Option<Arc<dyn Environment>>,
    reward: Option<Arc<dyn Reward>>,
    backends: Option<Backends>,
    listener: Option<Listener>,
    events: Option<Arc<dyn EventSink>>,
    probe: Option<Arc<dyn Probe>>,
    last_resort: Option<Arc<dyn Fn() + Send + Sync>>,
    faults: Option<Faults>,
}
impl RuntimeBuilder {
    /// Lets the topology place actors of `kind`. To be called before a file that does so is read.
    #[must_use]
    pub fn register(mut self, kind: Kind) -> Self {
        self.kinds.add(kind);
        self
    }

    /// Runs `config`.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Runs the configuration at `path`, with `sets` (each `key=value`) laid over it.
    ///
    /// # Errors
    /// [`Problems`](crate::config::Problems): everything that is wrong with it.
    pub fn config_file(self, path: impl AsRef<Path>, sets: &[String]) -> Result<Self> {
        let config = crate::cli::validate::check(path.as_ref(), sets, &self.kinds)?;
        Ok(self.config(config))
    }

    /// Goes on with the newest run of this name, if there is one.
    #[must_use]
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Trains `model` instead of the one the configuration names. Checkpoints of an adapter name the configured one all the same, and hold the
    /// digest of `model`: to be evaluated or exported by the command line, it must be that one.
    #[must_use]
    pub fn model(mut self, model: Pretrained) -> Self {
        self.model = Some(model);
        self
    }

    /// Trains in `environment` instead of the domain that the configuration names.
    #[must_use]
    pub fn environment(mut self, environment: impl Environment + 'static) -> Self {
        self.environment = Some(Arc::new(environment));
        self
    }

    /// Scores with `reward` instead of the configured weights; a configured judge comes on top. A closure does: wrap it in
    /// [`FnReward`](stateset_rewards::FnReward).
    #[must_use]
    pub fn reward(mut self, reward: impl Reward + 'static) -> Self {
        self.reward = Some(Arc::new(reward));
        self
    }

    /// Samples from and trains a policy of one's own.
    #[must_use]
    pub fn backends(mut self, backends: Backends) -> Self {
        self.backends = Some(backends);
        self
    }

    /// Hears of every step and evaluation.
    #[must_use]
    pub fn on_update(mut self, listener: impl Fn(&super::Update) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Hears of every event, besides `events.jsonl`.
    #[must_use]
    pub fn events(mut self, sink: Arc<dyn EventSink>) -> Self {
        self.events = Some(sink);
        self
    }

    /// Looks in before every message an actor handles. It may panic, fail it or let it wait.
    #[must_use]
    pub fn probe(mut self, probe: Arc<dyn Probe>) -> Self {
        self.probe = Some(probe);
        self
    }

    /// Calls `end` when nothing has moved for twice `supervision.deadlines.stall`, although whoever was to blame has been restarted. It
    /// is called on a thread of its own and is meant to end the process: a thread that hangs can be ended by nothing less.
    #[must_use]
    pub fn last_resort(mut self, end: impl Fn() + Send + Sync + 'static) -> Self {
        self.last_resort = Some(Arc::new(end));
        self
    }

    /// Lets things go wrong on purpose. The plan is written into the run's folder, and goes on where it was when the run is resumed.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Makes or reopens the run's folder and assembles the parts. Nothing runs yet.
    ///
    /// # Errors
    /// If a file that the configuration names cannot be used, its topology makes no sense, or the run to be resumed is another one.
    pub fn build(self) -> Result<Runtime> {
        let Self { mut config, kinds, .. } = self;
        if config.run.name.is_empty() {
            config.run.name = "run".into();
        }
        let blueprint = Blueprint::of(&config, &kinds).map_err(Problems::unwritten)?;
        let World { environment, domain } = World::of(self.environment, &config)?;
        let Prepared { backends, data, memory } = match self.backends {
            Some(backends) => Prepared::own(backends),
            None => Prepared::of(&config, self.model, domain.as_ref())?,
        };
        let judge = Prospect::of(&config)?;
        let reward = self.reward.unwrap_or_else(|| Arc::new(settings::episode_reward(&config)));
        let text = domain.as_ref().map(|domain| domain.text.as_str());
        let folder = resume::folder(&config, self.resume, text, data.as_deref())?;
        let records = Records::of(folder, config.run.log_size, self.events)?;
        let injector = self.faults.map(|faults| faults.meet(&config, &*environment, &records)).transpose()?;
        let instruments = Instruments::new(records.events.clone(), visited(self.probe, injector.as_ref()));
        let judge = judge.map(|judge| judge.engage(&config, &instruments));
        let (plan, policies) = (settings::plan(&config), Arc::new(settings::policies(&config)));
        let current = Current::new(config, blueprint);
        let (store, journal) = (store(&records.files(), current.clone()), journal(&records.files()));
        let Backends { format, engine, learner } = backends;
        let parts = Unwired { plan, policies, environment, reward, judge, format, engine, learner, store, journal };
        let parts = match &injector {
            Some(injector) => parts.with_faults(&records.files().checkpoints(), injector),
            None => parts,
        };
        let (listener, last_resort) = (self.listener, self.last_resort);
        let (interrupts, reloads) = (mpsc::channel(1), mpsc::channel(1));
        Ok(Runtime {
            records,
            current,
            kinds,
            parts,
            instruments,
            listener,
            last_resort,
            interrupts,
            reloads,
            injector,
            memory,
        })
    }
}

/// Who looks in before every message: `probe`, and the faults after it.
fn visited(probe: Option<Arc<dyn Probe>>, injector: Option<&Arc<Injector>>) -> Arc<dyn Probe> {
    let inner = probe.unwrap_or_else(|| Arc::new(Unprobed));
    match injector.cloned() {
        Some(injector) => Arc::new(FaultProbe { inner, injector }),
        None => inner,
    }
}

/// Keeps as many checkpoints as the configuration says at the time.
fn store(files: &RunFiles, current: Current) -> StoreFactory {
    let root = files.checkpoints();
    Arc::new(move |fence| -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(CheckpointFolder::open(&root, current.now().config.training.keep_checkpoints, fence)?))
    })
}

fn journal(files: &RunFiles) -> JournalFactory {
    let folder = files.journal();
    Arc::new(move || -> Result<Box<dyn Journal>, StoreError> {
        Ok(Box::new(JournalFolder::open(&folder, SEGMENT_BYTES)?))
    })
}

impl Unwired {
    /// The same parts, each failing when the plan says so. `checkpoints` is the store's folder.
    fn with_faults(self, checkpoints: &Path, injector: &Arc<Injector>) -> Self {
        use crate::faults::{engine, environment, learner, reward, store};
        Self {
            environment: environment(self.environment, injector),
            reward: reward(self.reward, injector),
            engine: engine(self.engine, injector),
            learner: learner(self.learner, injector),
            store: store(self.store, checkpoints, injector),
            ..self
        }
    }
}
