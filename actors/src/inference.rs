//! The inference actor: an engine on a thread of its own, serving every live conversation at once.
//!
//! The thread takes all that waits, advances the engine by one step, and delivers what finished; it sleeps only when nothing is live.
//! On start it loads what the [`PolicySlot`] holds, and it serves weights only if the engine has the digest that was published: a
//! restarted engine, or one that has loaded something else, serves the current weights or nothing.
//!
//! A load takes effect between two steps of the engine. A request in flight begins again under the new weights, so that every reply is of
//! one version; an episode goes on with the new version from its next reply, or from this one. If the thread ends, so does the actor; and
//! if the actor ends, callers see their replies dropped at once, even if the thread hangs. Their episodes are tried again.

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use stateset_domain::{Completion, Digest, Engine, EngineError, GenerateRequest, PolicyVersion, RequestId};
use stateset_telemetry::Event;

use crate::owed::{Debtor, Owed};
use crate::protocol::{InferenceMsg, Instruments, PolicySlot, Prompt, Site};
use crate::thread::{self, Held, Lease, ThreadEnded};

/// Builds an engine, on the thread where it will live.
pub type EngineFactory = Arc<dyn Fn() -> Result<Box<dyn Engine>, EngineError> + Send + Sync>;

/// Serves generation requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct InferenceActor;

/// What an [`InferenceActor`] starts with.
#[derive(Clone)]
pub struct InferenceArguments {
    /// Builds the engine.
    pub build: EngineFactory,
    /// Where the current weights are.
    pub slot: Arc<PolicySlot>,
    /// One for all incarnations.
    pub lease: Lease,
    /// What to report through.
    pub instruments: Instruments,
}

/// The actor's end of the queue to the engine's thread, and what it owes.
pub struct InferenceState {
    commands: Sender<Command>,
    loads: Debtor<Loaded>,
    generations: Debtor<Generated>,
    instruments: Instruments,
}

type Loaded = Result<Digest, EngineError>;
type Generated = Result<Completion, EngineError>;

/// Numbers name the replies that are owed.
enum Command {
    Load(u64),
    Generate(Prompt, u64),
    Release(u64),
}

/// Commands that may wait for the engine. Each live conversation has at most two.
const QUEUE: usize = 1024;

impl Actor for InferenceActor {
    type Msg = InferenceMsg;
    type State = InferenceState;
    type Arguments = InferenceArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<InferenceMsg>,
        arguments: InferenceArguments,
    ) -> Result<InferenceState, ActorProcessingErr> {
        let InferenceArguments { build, slot, lease, instruments } = arguments;
        let (commands, queue) = bounded(QUEUE);
        let (loads, generations) = (Debtor::new(), Debtor::new());
        let (reporting, owed) = (instruments.clone(), (loads.owed(), generations.owed()));
        instruments.threads.watch(Site::Inference, &lease, &instruments.events);
        let body = move |held: &Held| match held.work(|| build()) {
            Some(engine) => Serving::new(engine?, slot, owed, reporting).run(&queue, held),
            None => Ok(()),
        };
        let ended = move |cause| drop(myself.cast(InferenceMsg::Ended { cause }));
        thread::spawn("inference", lease, body, ended)?;
        Ok(InferenceState { commands, loads, generations, instruments })
    }

    async fn handle(
        &self,
        _myself: ActorRef<InferenceMsg>,
        message: InferenceMsg,
        state: &mut InferenceState,
    ) -> Result<(), ActorProcessingErr> {
        state.instruments.visit(Site::Inference).await?;
        let command = match message {
            InferenceMsg::Load { reply } => Command::Load(state.loads.owe(reply)),
            InferenceMsg::Generate { prompt, reply } => Command::Generate(prompt, state.generations.owe(reply)),
            InferenceMsg::Release { conversation } => Command::Release(conversation),
            InferenceMsg::Ended { cause } => return Err(ThreadEnded(cause).into()),
        };
        // A closed queue drops the command, which its caller sees; the thread's own message about it is on its way.
        let _ = thread::push(&state.commands, command).await;
        Ok(())
    }
}

/// The engine's thread.
struct Serving {
    engine: Box<dyn Engine>,
    slot: Arc<PolicySlot>,
    loads: Owed<Loaded>,
    generations: Owed<Generated>,
    instruments: Instruments,
    served: Option<(PolicyVersion, Digest)>,
    waiting: HashMap<RequestId, Waiting>,
    next: u64,
}

struct Waiting {
    conversation: u64,
    reply: u64,
}

impl Serving {
    fn new(
        engine: Box<dyn Engine>,
        slot: Arc<PolicySlot>,
        (loads, generations): (Owed<Loaded>, Owed<Generated>),
        instruments: Instruments,
    ) -> Self {
        Self { engine, slot, loads, generations, instruments, served: None, waiting: HashMap::new(), next: 0 }
    }

    /// Serves until nobody asks any more, or this thread has been replaced.
    fn run(mut self, commands: &Receiver<Command>, held: &Held) -> Result<(), EngineError> {
        if self.slot.current().is_some() {
            held.work(|| self.load(held)).transpose()?;
            if self.served.is_none() && held.holds() {
                return Err(EngineError::Snapshot("the engine holds other weights than were published".into()));
            }
        }
        while held.holds() {
            if self.waiting.is_empty() {
                match commands.recv() {
                    Ok(command) => held.work(|| self.accept(command, held)),
                    Err(_) => return Ok(()),
                };
            }
            loop {
                match commands.try_recv() {
                    Ok(command) => held.work(|| self.accept(command, held)),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                };
            }
            if !self.waiting.is_empty() {
                held.work(|| self.step(held)).transpose()?;
            }
        }
        Ok(())
    }

    fn accept(&mut self, command: Command, held: &Held) {
        match command {
            Command::Load(reply) => {
                let loaded = self.load(held);
                if held.holds() {
                    self.loads.pay(reply, loaded);
                }
            }
            Command::Generate(prompt, reply) if self.generations.is_due(reply) => self.submit(prompt, reply),
            Command::Generate(_, reply) => self.generations.forgive(reply),
            Command::Release(conversation) => {
                self.engine.release(conversation);
                let left = self.waiting.extract_if(|_, waiting| waiting.conversation == conversation);
                left.for_each(|(_, waiting)| self.generations.forgive(waiting.reply));
            }
        }
    }

    fn load(&mut self, held: &Held) -> Result<Digest, EngineError> {
        let Some(snapshot) = self.slot.current() else {
            return Err(EngineError::Snapshot("there is none yet".into()));
        };
        match self.served {
            Some((version, digest)) if (version, digest) == (snapshot.version(), snapshot.digest()) => Ok(digest),
            Some(_) | None => {
                let (version, digest) = (snapshot.version(), self.engine.load(&snapshot)?);
                if digest != snapshot.digest() {
                    self.refuse();
                    return Ok(digest);
                }
                self.served = Some((version, digest));
                if held.holds() {
                    self.instruments.emit(Event::WeightsLoaded { version, digest });
                }
                Ok(digest)
            }
        }
    }

    /// Serves nobody until the engine holds what was published. Whoever is waiting will ask again.
    fn refuse(&mut self) {
        self.served = None;
        for (_, waiting) in self.waiting.drain() {
            self.engine.release(waiting.conversation);
            self.generations.forgive(waiting.reply);
        }
    }

    fn submit(&mut self, prompt: Prompt, reply: u64) {
        if self.served.is_none() {
            let refused = EngineError::Request("the engine does not hold the policy that was published".into());
            return self.generations.pay(reply, Err(refused));
        }
        let id = RequestId(self.next);
        self.next += 1;
        let Prompt { conversation, tokens, sampling, stop_tokens, stream } = prompt;
        match self.engine.submit(GenerateRequest { id, conversation, tokens, sampling, stop_tokens, stream }) {
            Ok(()) => drop(self.waiting.insert(id, Waiting { conversation, reply })),
            Err(error) => self.generations.pay(reply, Err(error)),
        }
    }

    fn step(&mut self, held: &Held) -> Result<(), EngineError> {
        let poll = self.engine.step()?;
        if !held.holds() {
            // Whoever asked has heard that nobody answers, and asks whoever serves now.
            return Ok(());
        }
        for finished in poll.finished {
            self.instruments.vitals.tokens_sampled(finished.completion.tokens.len());
            if let Some(waiting) = self.waiting.remove(&finished.id) {
                self.generations.pay(waiting.reply, Ok(finished.completion));
            }
        }
        if poll.live == 0 && !self.waiting.is_empty() {
            return Err(EngineError::Compute(format!("the engine lost {} requests", self.waiting.len())));
        }
        Ok(())
    }
}
