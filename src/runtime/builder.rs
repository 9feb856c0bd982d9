//! Describing a run: a configuration, and whatever of it is to be replaced by one's own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use stateset_actors::policy::{Configured, EarlyStopping, Plan as Course, Policies};
use stateset_actors::protocol::{Instruments, Probe, Unprobed};
use stateset_actors::{EngineFactory, LearnerFactory};
use stateset_algorithms::{ActorCritic, Algorithm, Sft, Staleness};
use stateset_chat::ChatFormat;
use stateset_domain::{Journal, StoreError, Stream, Tokenizer};
use stateset_environments::{DomainSpec, Environment, Ladder};
use stateset_faults::{Injector, Plan};
use stateset_inference::{BatchEngine, EngineLimits};
use stateset_journal::JournalFolder;
use stateset_models::{Pretrained, ServedWeights};
use stateset_rewards::{EpisodeReward, Reward};
use stateset_telemetry::{EventSink, JsonLines};
use stateset_training::{
    Adaptation, CheckpointFolder, Dataset, LearnerSettings, Objective, OptimizerSettings, PolicyLearner,
};
use tokio::sync::mpsc;

use super::{Clock, Listener, Restarts, Runtime, Unwired};
use crate::cli::errors::AnotherRun;
use crate::config::{Config, Difference, FaultFile, Problems, Training};
use crate::data::{self, Given};
use crate::faults::{FaultProbe, Faults};
use crate::format;
use crate::inspect::Recent;
use crate::judge::Prospect;
use crate::memory::within_budget;
use crate::model;
use crate::resume::Recorded;
use crate::run_folder::{RunFiles, RunFolder, write_whole};
use crate::standing::Standing;
use crate::topology::{Blueprint, Current, Kind, Kinds};

/// Tokens that the engine is fed in one step.
pub(crate) const STEP_TOKENS: usize = 1024;

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

/// A policy of one's own: who samples, who learns, and how text becomes tokens for both.
#[derive(Clone)]
pub struct Backends {
    /// Conversations to tokens, and tokens to replies.
    pub format: ChatFormat,
    /// Builds the engine, on its own thread, again after every failure.
    pub engine: EngineFactory,
    /// Builds the learner, likewise.
    pub learner: LearnerFactory,
}

impl Backends {
    /// Those of a run that is given none: the engine and the learner of `model`, as `config` has them. It learns from `dataset` in place of
    /// episodes, if there is one.
    ///
    /// # Errors
    /// If the model's chat template cannot be used.
    pub fn of(config: &Config, model: Pretrained, dataset: Option<Dataset>) -> Result<Self> {
        let format = format::of(&model)?;
        let tokenizer: Arc<dyn Tokenizer> = Arc::new(model.tokenizer.clone());
        let settings = learner_settings(config);
        let place = config.run.device.settle(&model.weights.config, Some(&settings), dataset.is_some())?;
        let engine = {
            let (shape, tokenizer) = (model.weights.config.clone(), tokenizer.clone());
            let limits = EngineLimits {
                slots: config.supervision.max_live_episodes,
                positions: config.agent.max_context,
                step_tokens: STEP_TOKENS,
            };
            // What an adapter is learnt on is laid out once, whoever serves it.
            let base = config.training.lora.as_ref().map(|it| (ServedWeights::of(&model.weights), it.adapter()));
            let build = move || -> Result<Box<dyn stateset_domain::Engine>, stateset_domain::EngineError> {
                match base.clone() {
                    Some((base, lora)) => {
                        Ok(Box::new(BatchEngine::new(&shape, tokenizer.clone(), limits).adapting(base, lora)))
                    }
                    None => place.engine(&shape, tokenizer.clone(), limits),
                }
            };
            Arc::new(build)
        };
        let learner = move || -> Result<Box<dyn stateset_domain::Learner>, stateset_domain::LearnerError> {
            let (model, settings) = (model.clone(), settings.clone());
            match dataset.clone() {
                Some(dataset) => Ok(Box::new(PolicyLearner::offline(model, settings, dataset)?)),
                None => place.learner(model, settings),
            }
        };
        Ok(Self { format, engine, learner: Arc::new(learner) })
    }
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
        let Self {
            mut config,
            kinds,
            resume,
            model,
            environment,
            reward,
            backends,
            listener,
            events,
            probe,
            last_resort,
            faults,
        } = self;
        if config.run.name.is_empty() {
            config.run.name = "run".into();
        }
        let blueprint = Blueprint::of(&config, &kinds)
            .map_err(|problems| Problems { file: "the configuration".into(), problems })?;
        let domain = match environment {
            Some(_) => None,
            None => Some(Domain::read(&config)?),
        };
        let (mut digest, mut memory) = (None, None);
        let backends = match backends {
            Some(backends) => backends,
            None => {
                let model = model.map_or_else(|| model::load(&config.agent.model), Ok)?;
                let given = given(&config, &model, domain.as_ref())?;
                digest = given.as_ref().and_then(|given| given.digest.clone());
                // The run is known by what its file says, not by what that comes to.
                let settled = within_budget(&config, &model.weights)?.map(|(settled, plan)| {
                    memory = Some(plan);
                    settled
                });
                Backends::of(settled.as_ref().unwrap_or(&config), model, given.map(|given| given.dataset))?
            }
        };
        let environment = match (environment, &domain) {
            (Some(environment), _) => environment,
            (None, Some(domain)) => Arc::new(domain.ladder(&config)?),
            (None, None) => unreachable!("without an environment, the domain was read"),
        };
        let judge = Prospect::of(&config)?;
        let environment = Standing::over(environment, config.agent.system.clone());
        let reward = reward.unwrap_or_else(|| Arc::new(episode_reward(&config)));
        let text = domain.as_ref().map(|domain| domain.text.as_str());
        let folder = open_folder(&config, resume, text, digest.as_deref())?;
        let files = folder.files();
        let before = JsonLines::read(&files.events()).ok().and_then(|events| Some(events.last()?.seconds));
        let clock = Clock::going_on(Duration::from_secs_f64(before.unwrap_or(0.0)));
        let restarts = Arc::new(Restarts::default());
        let recent = {
            let clock = clock.clone();
            Arc::new(Recent::new(move || clock.read()))
        };
        let events = super::events(&files, config.run.log_size, &clock, &restarts, &recent, events)?;
        let mut probe = probe.unwrap_or_else(|| Arc::new(Unprobed));
        let mut injector = None;
        if let Some(faults) = faults {
            let plan = faults.plan(&config, &*environment);
            record_faults(&files, &plan)?;
            let planned = crate::faults::injector(plan, &files, events.clone(), &clock)?;
            probe = Arc::new(FaultProbe { inner: probe, injector: planned.clone() });
            injector = Some(planned);
        }
        let instruments = Instruments::new(events, probe);
        let judge = judge.map(|judge| judge.engage(&config, &instruments));
        let (root, current) = (files.checkpoints(), Current::new(config, blueprint));
        let keeping = current.clone();
        let store = move |fence| -> Result<Box<dyn stateset_domain::Store>, StoreError> {
            Ok(Box::new(CheckpointFolder::open(&root, keeping.now().config.training.keep_checkpoints, fence)?))
        };
        let folder_of_journal = files.journal();
        let journal = move || -> Result<Box<dyn Journal>, StoreError> {
            Ok(Box::new(JournalFolder::open(&folder_of_journal, SEGMENT_BYTES)?))
        };
        let mut parts = Unwired {
            plan: plan(&current.now().config),
            policies: Arc::new(policies(&current.now().config)),
            environment,
            reward,
            judge,
            format: backends.format,
            engine: backends.engine,
            learner: backends.learner,
            store: Arc::new(store),
            journal: Arc::new(journal),
        };
        if let Some(injector) = &injector {
            parts = parts.with_faults(&files.checkpoints(), injector);
        }
        Ok(Runtime {
            folder,
            current,
            kinds,
            parts,
            instruments,
            restarts,
            recent,
            clock,
            listener,
            last_resort,
            interrupts: mpsc::channel(1),
            reloads: mpsc::channel(1),
            injector,
            memory,
        })
    }
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

/// Writes the plan down. A run that has one already goes on with that or not at all: its faults are known by their place in it.
fn record_faults(files: &RunFiles, plan: &Plan) -> Result<()> {
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

/// The domain's file, as it is now.
struct Domain {
    text: String,
    spec: Arc<DomainSpec>,
}

impl Domain {
    fn read(config: &Config) -> Result<Self> {
        let path = &config.environment.domain;
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the domain {}", path.display()))?;
        let spec = DomainSpec::from_yaml(&text).with_context(|| format!("cannot use the domain {}", path.display()))?;
        Ok(Self { text, spec: Arc::new(spec) })
    }

    fn ladder(&self, config: &Config) -> Result<Ladder> {
        Ok(Ladder::new(self.spec.clone(), &config.environment.rung, config.run.seed)?)
    }
}

fn open_folder(config: &Config, resume: bool, domain: Option<&str>, data: Option<&str>) -> Result<RunFolder> {
    let (parent, name) = (&config.run.output_dir, &config.run.name);
    if resume && let Some(folder) = RunFolder::newest(parent, name)? {
        Recorded::of(&folder.files())?.check(&folder.files(), config, domain, data)?;
        // Read again by the learner; but what is damaged is told before anything is started.
        Recorded::checkpoint(&folder.files())?;
        return Ok(folder);
    }
    let folder = RunFolder::create(parent, name)?;
    Recorded::write(&folder.files(), config, domain, data)?;
    Ok(folder)
}

/// What the learner is given in place of episodes, if anything.
fn given(config: &Config, model: &Pretrained, domain: Option<&Domain>) -> Result<Option<Given>> {
    let format = format::of(model)?;
    let ladder = domain.map(|domain| domain.ladder(config)).transpose()?;
    let unusable = |problems| Problems { file: "the configuration".into(), problems };
    Ok(data::given(config, &format, || ladder).map_err(unusable)?)
}

/// How a learner learns that is configured so.
pub(crate) fn learner_settings(config: &Config) -> LearnerSettings {
    let training = &config.training;
    LearnerSettings {
        objective: objective(training),
        total_steps: training.steps,
        learning_rate: training.learning_rate,
        schedule: training.schedule,
        optimizer: OptimizerSettings {
            kind: training.optimizer,
            betas: training.betas.into(),
            epsilon: training.epsilon,
            weight_decay: training.weight_decay,
            max_grad_norm: training.max_grad_norm,
        },
        staleness: Staleness { rule: training.staleness, importance: training.importance_sampling.clone() },
        // What is given was not sampled at ours.
        temperature: if training.is_offline() { 1.0 } else { config.agent.sampling.temperature },
        micro_batch_tokens: training.micro_batch_tokens,
        activation_checkpointing: training.activation_checkpointing,
        adapter: training.lora.as_ref().map(|lora| Adaptation {
            config: lora.adapter(),
            base: model::absolute(&config.agent.model),
            stream: Stream::new(config.run.seed).fork(u64::from_le_bytes(*b"adapters")),
        }),
        undoable: undoable(config),
    }
}

/// Whether a step may have to be taken back.
pub(crate) fn undoable(config: &Config) -> bool {
    policies(config).may_skip()
}

fn objective(training: &Training) -> Objective {
    let critic = || training.critic.clone();
    match training.algorithm {
        Algorithm::Ppo => Objective::ActorCritic(ActorCritic::ppo(&training.ppo, critic())),
        Algorithm::A2c => Objective::ActorCritic(ActorCritic::a2c(&training.a2c, critic())),
        Algorithm::Trpo => Objective::ActorCritic(ActorCritic::trpo(&training.trpo, critic())),
        Algorithm::Dpo => Objective::Dpo(training.dpo.clone()),
        Algorithm::Sft => Objective::Sft(Sft::policy()),
        _ => Objective::Grpo(training.grpo.clone()),
    }
}

fn episode_reward(config: &Config) -> EpisodeReward {
    let crate::config::Rewards { success_weight, turn_weight, .. } = config.rewards;
    EpisodeReward { success_weight, turn_weight }
}

fn plan(config: &Config) -> Course {
    let training = &config.training;
    let (groups_per_step, group_size) = training.sampled();
    Course {
        seed: config.run.seed,
        steps: training.steps,
        groups_per_step,
        group_size,
        max_resamples: training.max_resamples,
        save_every: training.save_every,
        eval_every: training.eval_every,
        eval_episodes: config.evaluation.episodes,
        sampling: config.agent.sampling.clone(),
        max_staleness: training.staleness_bound(),
    }
}

fn policies(config: &Config) -> Policies {
    let training = &config.training;
    let (groups, episodes) = training.sampled();
    let crate::config::EarlyStopping { enabled, patience, min_delta } = training.early_stopping;
    Policies {
        rules: config.rules(),
        early_stopping: enabled.then_some(EarlyStopping { patience, min_delta }),
        episodes_per_step: u64::from(groups) * u64::from(episodes),
        groups_per_step: u64::from(groups),
        configured: Configured {
            kl_coef: objective(training).kl_coef(),
            temperature: config.agent.sampling.temperature,
            max_staleness: plan(config).max_staleness,
        },
    }
}
