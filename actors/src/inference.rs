//! The inference actor: an engine on a thread of its own, serving every live conversation at once.
//!
//! The thread takes all that waits, advances the engine by one step, and delivers what finished; it sleeps only when nothing is live.
//! On start it loads what the [`PolicySlot`] holds, and it serves weights only if the engine has the digest that was published: a
//! restarted engine, or one that has loaded something else, serves the current weights or nothing.
//!
//! A load takes effect between two steps of the engine. A request in flight begins again under the new weights, so that every reply is of
//! one version; an episode goes on with the new version from its next reply, or from this one. If the thread ends, so does the actor; callers see their replies dropped, and their episodes are tried again.

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use stateset_domain::{Completion, Digest, Engine, EngineError, GenerateRequest, PolicyVersion, RequestId};
use stateset_telemetry::Event;

use crate::protocol::{InferenceMsg, Instruments, PolicySlot, Prompt, Reply, Site};
use crate::thread::{self, Lease, ThreadEnded};

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

/// The actor's end of the queue to the engine's thread.
pub struct InferenceState {
    commands: Sender<Command>,
    instruments: Instruments,
}

enum Command {
    Load(Reply<Result<Digest, EngineError>>),
    Generate(Prompt, Reply<Result<Completion, EngineError>>),
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
        let reporting = instruments.clone();
        let body = move || Serving::new(build()?, slot, reporting).run(&queue);
        let ended = move |cause| drop(myself.cast(InferenceMsg::Ended { cause }));
        thread::spawn("inference", lease, body, ended)?;
        Ok(InferenceState { commands, instruments })
    }

    async fn handle(
        &self,
        _myself: ActorRef<InferenceMsg>,
        message: InferenceMsg,
        state: &mut InferenceState,
    ) -> Result<(), ActorProcessingErr> {
        state.instruments.visit(Site::Inference).await?;
        let command = match message {
            InferenceMsg::Load { reply } => Command::Load(reply),
            InferenceMsg::Generate { prompt, reply } => Command::Generate(prompt, reply),
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
    instruments: Instruments,
    served: Option<(PolicyVersion, Digest)>,
    waiting: HashMap<RequestId, Waiting>,
    next: u64,
}

struct Waiting {
    conversation: u64,
    reply: Reply<Result<Completion, EngineError>>,
}

impl Serving {
    fn new(engine: Box<dyn Engine>, slot: Arc<PolicySlot>, instruments: Instruments) -> Self {
        Self { engine, slot, instruments, served: None, waiting: HashMap::new(), next: 0 }
    }

    fn run(mut self, commands: &Receiver<Command>) -> Result<(), EngineError> {
        if self.slot.current().is_some() {
            self.load()?;
            if self.served.is_none() {
                return Err(EngineError::Snapshot("the engine holds other weights than were published".into()));
            }
        }
        loop {
            if self.waiting.is_empty() {
                match commands.recv() {
                    Ok(command) => self.accept(command),
                    Err(_) => return Ok(()),
                }
            }
            loop {
                match commands.try_recv() {
                    Ok(command) => self.accept(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            if !self.waiting.is_empty() {
                self.step()?;
            }
        }
    }

    fn accept(&mut self, command: Command) {
        match command {
            Command::Load(reply) => drop(reply.send(self.load())),
            Command::Generate(prompt, reply) if !reply.is_closed() => self.submit(prompt, reply),
            Command::Generate(..) => {}
            Command::Release(conversation) => {
                self.engine.release(conversation);
                self.waiting.retain(|_, waiting| waiting.conversation != conversation);
            }
        }
    }

    fn load(&mut self) -> Result<Digest, EngineError> {
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
                self.instruments.emit(Event::WeightsLoaded { version, digest });
                Ok(digest)
            }
        }
    }

    /// Serves nobody until the engine holds what was published. Whoever is waiting will ask again.
    fn refuse(&mut self) {
        self.served = None;
        for (_, waiting) in self.waiting.drain() {
            self.engine.release(waiting.conversation);
        }
    }

    fn submit(&mut self, prompt: Prompt, reply: Reply<Result<Completion, EngineError>>) {
        if self.served.is_none() {
            drop(
                reply.send(Err(EngineError::Request("the engine does not hold the policy that was published".into()))),
            );
            return;
        }
        let id = RequestId(self.next);
        self.next += 1;
        let Prompt { conversation, tokens, sampling, stop_tokens, stream } = prompt;
        match self.engine.submit(GenerateRequest { id, conversation, tokens, sampling, stop_tokens, stream }) {
            Ok(()) => drop(self.waiting.insert(id, Waiting { conversation, reply })),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn step(&mut self) -> Result<(), EngineError> {
        let poll = self.engine.step()?;
        for finished in poll.finished {
            self.instruments.vitals.tokens_sampled(finished.completion.tokens.len());
            if let Some(waiting) = self.waiting.remove(&finished.id) {
                // A caller that went away is no longer interested.
                let _ = waiting.reply.send(Ok(finished.completion));
            }
        }
        if poll.live == 0 && !self.waiting.is_empty() {
            return Err(EngineError::Compute(format!("the engine lost {} requests", self.waiting.len())));
        }
        Ok(())
    }
}
