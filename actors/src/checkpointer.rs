//! The checkpointer actor: a store on a thread of its own.
//!
//! Checkpoints are written in the order they are asked for, one at a time. One that cannot be written is reported and answered with
//! the error; the run goes on without it.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use stateset_domain::{Checkpoint, Store, StoreError};
use stateset_telemetry::Event;

use crate::protocol::{CheckpointerMsg, Instruments, Reply, Site};
use crate::thread::{Confined, Lease, ThreadEnded};

/// Opens a store, on the thread where it will live.
pub type StoreFactory = Arc<dyn Fn() -> Result<Box<dyn Store>, StoreError> + Send + Sync>;

/// Writes and reads checkpoints.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckpointerActor;

/// What a [`CheckpointerActor`] starts with.
#[derive(Clone)]
pub struct CheckpointerArguments {
    /// Opens the store.
    pub build: StoreFactory,
    /// One for all incarnations, so that no two ever write at once.
    pub lease: Lease,
    /// What to report through.
    pub instruments: Instruments,
}

/// The store, on its thread.
pub struct CheckpointerState {
    store: Confined<Box<dyn Store>>,
    instruments: Instruments,
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
        let CheckpointerArguments { build, lease, instruments } = arguments;
        let store = Confined::spawn("checkpointer", lease, move || build())?;
        Ok(CheckpointerState { store, instruments })
    }

    async fn handle(
        &self,
        _myself: ActorRef<CheckpointerMsg>,
        message: CheckpointerMsg,
        state: &mut CheckpointerState,
    ) -> Result<(), ActorProcessingErr> {
        state.instruments.visit(Site::Checkpointer);
        match message {
            CheckpointerMsg::Save { checkpoint, reply } => {
                let saved = state.save(checkpoint).await?;
                answer(reply, saved);
            }
            CheckpointerMsg::Latest { reply } => {
                let latest = state.store.ask(|store| store.latest()).await?;
                answer(reply, latest);
            }
        }
        Ok(())
    }
}

impl CheckpointerState {
    async fn save(&self, checkpoint: Arc<Checkpoint>) -> Result<Result<std::path::PathBuf, StoreError>, ThreadEnded> {
        let step = checkpoint.progress.step;
        let saved = self.store.ask(move |store| store.save(&checkpoint)).await?;
        self.instruments.emit(match &saved {
            Ok(path) => Event::CheckpointSaved { step, path: path.display().to_string() },
            Err(error) => Event::CheckpointFailed { step, cause: error.to_string() },
        });
        Ok(saved)
    }
}

fn answer<T>(reply: Reply<T>, answer: T) {
    // Whoever asked may have been restarted since; it will ask again.
    let _ = reply.send(answer);
}
