//! The checkpointer actor: store and journal on a thread of their own.
//!
//! Checkpoints and journal entries are written in the order they are asked for, one at a time. What cannot be written is reported and
//! answered with the error; the run goes on without it. Once a checkpoint is saved, the journal forgets what lies before the oldest
//! one that is kept.

use std::path::PathBuf;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use stateset_domain::{Checkpoint, Durability, Entry, Fence, Journal, Replay, Store, StoreError};
use stateset_telemetry::Event;

use crate::protocol::{CheckpointerMsg, Instruments, Reply, Site};
use crate::thread::{Confined, Lease, ThreadEnded};

/// Opens a store, on the thread where it will live, with the right to write that it has.
pub type StoreFactory = Arc<dyn Fn(Fence) -> Result<Box<dyn Store>, StoreError> + Send + Sync>;

/// Opens a journal, on the thread where it will live.
pub type JournalFactory = Arc<dyn Fn() -> Result<Box<dyn Journal>, StoreError> + Send + Sync>;

/// Writes and reads checkpoints and the journal.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckpointerActor;

/// What a [`CheckpointerActor`] starts with.
#[derive(Clone)]
pub struct CheckpointerArguments {
    /// Opens the store.
    pub build: StoreFactory,
    /// Opens the journal, when it is first asked for: one that cannot be opened is no reason to go without checkpoints.
    pub journal: JournalFactory,
    /// One for all incarnations, so that no two ever write at once.
    pub lease: Lease,
    /// What to report through.
    pub instruments: Instruments,
}

/// Store and journal, on their thread.
pub struct CheckpointerState {
    files: Confined<Files>,
    instruments: Instruments,
}

struct Files {
    store: Box<dyn Store>,
    open: JournalFactory,
    journal: Option<Box<dyn Journal>>,
}

impl Actor for CheckpointerActor {
    type Msg = CheckpointerMsg;
    type State = CheckpointerState;
    type Arguments = CheckpointerArguments;

    async fn pre_start(
        &self,
        _myself: ActorRef<CheckpointerMsg>,
        arguments: CheckpointerArguments,
    ) -> Result<CheckpointerState, ActorProcessingErr> {
        let CheckpointerArguments { build, journal: open, lease, instruments } = arguments;
        instruments.threads.watch(Site::Checkpointer, &lease, &instruments.events);
        let build = move |fence| build(fence).map(|store| Files { store, open, journal: None });
        let files = Confined::spawn("checkpointer", lease, build)?;
        Ok(CheckpointerState { files, instruments })
    }

    async fn handle(
        &self,
        _myself: ActorRef<CheckpointerMsg>,
        message: CheckpointerMsg,
        state: &mut CheckpointerState,
    ) -> Result<(), ActorProcessingErr> {
        state.instruments.visit(Site::Checkpointer).await?;
        match message {
            CheckpointerMsg::Save { checkpoint, reply } => {
                let saved = state.save(checkpoint).await?;
                answer(reply, saved);
            }
            CheckpointerMsg::Latest { reply } => {
                let latest = state.files.ask(|files| files.store.latest()).await?;
                answer(reply, latest);
            }
            CheckpointerMsg::Append { entry, durability, reply } => {
                let written = state.files.ask(move |files| files.append(&entry, durability)).await?;
                answer(reply, written);
            }
            CheckpointerMsg::Recall { step, reply } => {
                let replay = state.files.ask(move |files| files.replay(step)).await?;
                answer(reply, replay);
            }
            CheckpointerMsg::LatestHealthy { at_most, reply } => {
                let healthy = state.files.ask(move |files| files.store.latest_healthy(at_most)).await?;
                answer(reply, healthy);
            }
            CheckpointerMsg::ForgetAfter { step, reply } => {
                let forgotten = state.files.ask(move |files| files.store.forget_after(step)).await?;
                answer(reply, forgotten);
            }
        }
        Ok(())
    }
}

impl CheckpointerState {
    async fn save(&self, checkpoint: Arc<Checkpoint>) -> Result<Result<PathBuf, StoreError>, ThreadEnded> {
        let step = checkpoint.progress.step;
        let (saved, forgotten) = self.files.ask(move |files| files.save(&checkpoint)).await?;
        self.instruments.emit(match &saved {
            Ok(path) => Event::CheckpointSaved { step, path: path.display().to_string() },
            Err(error) => Event::CheckpointFailed { step, cause: error.to_string() },
        });
        if let Err(error) = forgotten {
            self.instruments.emit(Event::JournalFailed { step, cause: error.to_string() });
        }
        Ok(saved)
    }
}

impl Files {
    /// Saves, and lets the journal forget; how each went.
    fn save(&mut self, checkpoint: &Checkpoint) -> (Result<PathBuf, StoreError>, Result<(), StoreError>) {
        let saved = self.store.save(checkpoint);
        let forgotten = match (&saved, &mut self.journal) {
            (Ok(_), Some(journal)) => self.store.oldest().and_then(|oldest| match oldest {
                Some(oldest) => journal.forget(oldest),
                None => Ok(()),
            }),
            (Ok(_), None) | (Err(_), _) => Ok(()),
        };
        (saved, forgotten)
    }

    fn append(&mut self, entry: &Entry, durability: Durability) -> Result<(), StoreError> {
        self.journal()?.append(std::slice::from_ref(entry), durability)
    }

    fn replay(&mut self, step: u64) -> Result<Replay, StoreError> {
        self.journal()?.replay(step)
    }

    fn journal(&mut self) -> Result<&mut Box<dyn Journal>, StoreError> {
        if self.journal.is_none() {
            self.journal = Some((self.open)()?);
        }
        Ok(self.journal.as_mut().expect("it is open"))
    }
}

fn answer<T>(reply: Reply<T>, answer: T) {
    // Whoever asked may have been restarted since; it will ask again.
    let _ = reply.send(answer);
}
