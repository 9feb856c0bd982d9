//! Wires a ring.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use stateset_actors::policy::{Plan, Policies, Retries};
use stateset_actors::protocol::{Begin, Deadlines, Instruments, PolicySlot, Port, Probe, Settings, Unprobed};
use stateset_actors::{
    CheckpointerActor, CheckpointerArguments, ConversationActor, ConversationArguments, ConversationSetup,
    EnvironmentActor, EnvironmentArguments, HealthMonitorActor, HealthMonitorArguments, InferenceActor,
    InferenceArguments, JudgeActor, JudgeArguments, LearnerActor, LearnerArguments, Lease, SpawnFailed,
};
use stateset_chat::ChatFormat;
use stateset_domain::{Engine, GenerateRequest, Journal, Learner, Sampling, Store, Tokenizer};
use stateset_environments::Environment;
use stateset_rewards::Reward;
use stateset_telemetry::{Event, Memory};
use stateset_testkit::{
    CharTokenizer, CountingLearner, EchoEnvironment, MeanTurnReward, MemoryJournal, MemoryStore, ScriptedEngine,
};
use tokio::sync::{Notify, Semaphore};

use crate::recorder::Recorder;

type Build<T> = Arc<dyn Fn() -> Box<T> + Send + Sync>;

/// What a ring is made of. Tests change what they are about.
pub(crate) struct Rig {
    pub(crate) plan: Plan,
    pub(crate) policies: Policies,
    pub(crate) retries: Retries,
    pub(crate) probe: Arc<dyn Probe>,
    pub(crate) engine: Build<dyn Engine>,
    pub(crate) learner: Build<dyn Learner>,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) reward: Arc<dyn Reward>,
    pub(crate) store: MemoryStore,
    pub(crate) journal: MemoryJournal,
    pub(crate) format: ChatFormat,
    pub(crate) live_episodes: usize,
    pub(crate) interrupt_after: Option<u64>,
    /// Restarts an actor gets before the run is given up on.
    pub(crate) restarts: usize,
}

/// What a ring left behind.
pub(crate) struct Ran {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) instruments: Instruments,
    pub(crate) events: Arc<Memory>,
    pub(crate) failures: Vec<String>,
}

impl Default for Rig {
    fn default() -> Self {
        let sampling = Sampling { max_tokens: 32, ..Sampling::default() };
        Self {
            plan: Plan {
                seed: 7,
                steps: 4,
                groups_per_step: 3,
                group_size: 4,
                max_resamples: 0,
                save_every: 2,
                eval_every: 0,
                eval_episodes: 10,
                sampling,
                max_staleness: 0,
            },
            policies: Policies::default(),
            retries: Retries { first_delay: Duration::from_millis(1), ..Retries::default() },
            probe: Arc::new(Unprobed),
            engine: Arc::new(|| Box::new(ScriptedEngine::new(|_, request| sometimes_echo(request)))),
            learner: Arc::new(|| Box::new(CountingLearner::new())),
            environment: Arc::new(EchoEnvironment { turns: 3 }),
            reward: Arc::new(MeanTurnReward),
            store: MemoryStore::default(),
            journal: MemoryJournal::default(),
            format: ChatFormat::new(Arc::new(CharTokenizer)).unwrap(),
            live_episodes: 5,
            interrupt_after: None,
            restarts: 3,
        }
    }
}

/// Repeats what the user said last, seven times in ten.
pub(crate) fn sometimes_echo(request: &GenerateRequest) -> String {
    let user = CharTokenizer.special("<|user|>").unwrap();
    let said = request.tokens.rsplit(|id| *id == user).next().unwrap();
    let said = CharTokenizer.decode(said).unwrap();
    if request.stream.uniform_at(0) < 0.7 { said } else { "pardon?".into() }
}

impl Rig {
    /// Runs the ring until it says that it is over, or an actor has failed too often.
    pub(crate) async fn run(self) -> Ran {
        let events = Arc::new(Memory::default());
        let instruments = Instruments::new(events.clone(), self.probe.clone());
        let recorder = Arc::new(Recorder::default());
        let watch = Watch::new(self.restarts);
        let (slot, permits, deadlines) =
            (Arc::default(), Arc::new(Semaphore::new(self.live_episodes)), Deadlines::default());

        let (learner, learning) = watch.desk::<LearnerActor>();
        let (health, monitoring) = watch.desk::<HealthMonitorActor>();
        let (checkpointer, saving) = watch.desk::<CheckpointerActor>();
        let (inference, serving) = watch.desk::<InferenceActor>();
        let (judge, judging) = watch.desk::<JudgeActor>();
        let (environment, hosting) = watch.desk::<EnvironmentActor>();
        if let Some(step) = self.interrupt_after {
            assert!(recorder.interrupt.set((step, learner.clone())).is_ok());
        }

        let seen = instruments.clone();
        let stall = Duration::from_secs(60);
        let restart: stateset_actors::Restarter = Arc::new(|_| ());
        let monitor = HealthMonitorArguments { stall, restart, instruments: seen.clone() };
        monitoring.open(move |_| monitor.clone()).await;
        let store = self.store;
        let build: stateset_actors::StoreFactory =
            Arc::new(move |_fence| Ok(Box::new(store.clone()) as Box<dyn Store>));
        let journal = self.journal;
        let journal: stateset_actors::JournalFactory =
            Arc::new(move || Ok(Box::new(journal.clone()) as Box<dyn Journal>));
        let saver = CheckpointerArguments { build, journal, lease: Lease::default(), instruments: seen.clone() };
        saving.open(move |_| saver.clone()).await;
        let (engine, lease, served, to) =
            (self.engine, Lease::default(), Arc::<PolicySlot>::clone(&slot), seen.clone());
        let build: stateset_actors::EngineFactory = Arc::new(move || Ok(engine()));
        let server = InferenceArguments { build, slot: served, lease, instruments: to };
        serving.open(move |_| server.clone()).await;
        let scorer = JudgeArguments { reward: self.reward, model: None, instruments: seen.clone() };
        judging.open(move |_| scorer.clone()).await;

        let (asked, answering) = (inference.clone(), environment.clone());
        let setup = ConversationSetup {
            format: self.format,
            max_context: 400,
            inference: asked,
            environment: answering,
            judge,
            deadlines,
            instruments: seen.clone(),
        };
        let host =
            EnvironmentArguments { environment: self.environment, spawn: spawner(setup), instruments: seen.clone() };
        hosting.open(move |_| host.clone()).await;

        let learner_of_the_run = self.learner;
        let Plan { save_every, eval_every, .. } = self.plan;
        let settings = Settings { deadlines, retries: self.retries, save_every, eval_every };
        let first = LearnerArguments {
            build: Arc::new(move || Ok(learner_of_the_run())),
            plan: self.plan,
            policies: Arc::new(self.policies),
            retries: self.retries,
            deadlines,
            settings: Arc::new(move || settings),
            epoch: 1,
            permits,
            slot,
            lease: Lease::default(),
            home: learner,
            environment,
            inference,
            checkpointer,
            health,
            observer: recorder.clone(),
            instruments: seen,
        };
        learning.open(move |epoch| LearnerArguments { epoch, ..first.clone() }).await;

        let over = async {
            tokio::select! { () = recorder.over.notified() => {}, () = watch.gave_up.notified() => {} }
        };
        tokio::time::timeout(Duration::from_secs(30), over).await.expect("the run ends");
        let failures = watch.failures.lock().unwrap().clone();
        Ran { recorder, instruments, events, failures }
    }
}

fn spawner(setup: ConversationSetup) -> stateset_actors::ConversationSpawner {
    Arc::new(move |begin: Begin| {
        let arguments = ConversationArguments { begin, setup: setup.clone() };
        Box::pin(async move {
            let spawned = Actor::spawn(None, ConversationActor, arguments).await;
            spawned.map(drop).map_err(|error| SpawnFailed(error.to_string()))
        })
    })
}

impl Ran {
    /// The digest of the final weights.
    pub(crate) fn digest(&self) -> String {
        self.recorder
            .finished
            .get()
            .unwrap_or_else(|| panic!("not finished: {:?}", self.failures))
            .policy_digest
            .to_string()
    }

    /// How many events `is` holds for.
    pub(crate) fn count(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.events.events().iter().filter(|event| is(event)).count()
    }
}

/// Every failure of every actor, and when they became too many.
#[derive(Clone)]
struct Watch {
    failures: Arc<Mutex<Vec<String>>>,
    gave_up: Arc<Notify>,
    restarts: usize,
}

impl Watch {
    fn new(restarts: usize) -> Self {
        Self { failures: Arc::default(), gave_up: Arc::default(), restarts }
    }

    /// A port to an actor that is not there yet, and the means to bring it there.
    fn desk<A: Actor + Default>(&self) -> (Port<A::Msg>, Desk<A>) {
        let alive: Arc<Mutex<Option<ActorRef<A::Msg>>>> = Arc::default();
        let reached = Arc::clone(&alive);
        let port = Port::new(move |message| {
            let actor = reached.lock().unwrap().clone();
            match actor {
                Some(actor) => Port::to(actor).send(message).map_err(|undelivered| undelivered.0),
                None => Err(message),
            }
        });
        (port, Desk { alive, watch: self.clone() })
    }
}

struct Desk<A: Actor> {
    alive: Arc<Mutex<Option<ActorRef<A::Msg>>>>,
    watch: Watch,
}

impl<A: Actor + Default> Desk<A> {
    async fn open(self, make: impl Fn(u64) -> A::Arguments + Send + Sync + 'static) {
        let kept = Kept { desk: self, make: Box::new(make), incarnation: 0 };
        Actor::spawn(None, Keeper::<A>(PhantomData), kept).await.unwrap();
    }
}

/// Restarts one actor whenever it fails.
struct Keeper<A>(PhantomData<fn() -> A>);

struct Kept<A: Actor> {
    desk: Desk<A>,
    make: Box<dyn Fn(u64) -> A::Arguments + Send + Sync>,
    incarnation: u64,
}

impl<A: Actor + Default> Kept<A> {
    async fn start(&mut self, keeper: &ActorRef<()>) -> Result<(), ActorProcessingErr> {
        self.incarnation += 1;
        let arguments = (self.make)(self.incarnation);
        let (actor, _) = Actor::spawn_linked(None, A::default(), arguments, keeper.get_cell()).await?;
        *self.desk.alive.lock().unwrap() = Some(actor);
        Ok(())
    }
}

impl<A: Actor + Default> Actor for Keeper<A> {
    type Msg = ();
    type State = Kept<A>;
    type Arguments = Kept<A>;

    async fn pre_start(&self, myself: ActorRef<()>, mut kept: Kept<A>) -> Result<Kept<A>, ActorProcessingErr> {
        kept.start(&myself).await?;
        Ok(kept)
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<()>,
        event: SupervisionEvent,
        kept: &mut Kept<A>,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(_, error) = event {
            let watch = kept.desk.watch.clone();
            let failures = {
                let mut failures = watch.failures.lock().unwrap();
                failures.push(error.to_string());
                failures.len()
            };
            *kept.desk.alive.lock().unwrap() = None;
            if failures > watch.restarts {
                watch.gave_up.notify_one();
            } else {
                kept.start(&myself).await?;
            }
        }
        Ok(())
    }
}
