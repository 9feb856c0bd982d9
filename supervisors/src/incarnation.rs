//! One life of a child.
//!
//! ractor reports a killed actor and one stopped with the reason `killed` alike, and a panic like an error with the same text. Children
//! are therefore wrapped: the wrapper notes which hook ran last, and whoever supervises reads the note instead of guessing from text.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ractor::concurrency::JoinHandle;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use stateset_telemetry::ExitCause;

use crate::line::Line;
use crate::{GaveUp, Stopped};

/// A running child, as its supervisor owns it: dropped, it is killed.
#[derive(Debug)]
#[must_use = "an incarnation ends when this is dropped"]
pub struct Incarnation {
    pub(crate) cell: ActorCell,
    task: JoinHandle<()>,
    note: ExitNote,
}

impl Incarnation {
    pub(crate) fn new(cell: ActorCell, task: JoinHandle<()>, note: ExitNote) -> Self {
        Self { cell, task, note }
    }

    pub(crate) fn id(&self) -> ActorId {
        self.cell.get_id()
    }

    /// Whether its task is over and its state dropped.
    pub(crate) fn is_gone(&self) -> bool {
        self.task.is_finished()
    }

    /// Resolves when its task is over and its state dropped, which is later than its last event. Cancel-safe, and may be asked again.
    pub(crate) async fn gone(&mut self) {
        if !self.is_gone() {
            // Ends in an error only if the task was cancelled, and then it is gone too.
            let _ = (&mut self.task).await;
        }
    }

    /// How it ended, given the text of ractor's `ActorFailed` if that was its last event.
    pub(crate) fn exit_cause(&self, failure: Option<String>) -> ExitCause {
        match (failure, self.note.read().last) {
            (None, Last::Finished) => ExitCause::Normal,
            (None, Last::Nothing | Last::Failed) => ExitCause::Killed,
            (Some(text), Last::Failed) => ExitCause::Error(text),
            (Some(text), Last::Nothing | Last::Finished) => ExitCause::Panic(text),
        }
    }

    pub(crate) fn note(&self) -> &ExitNote {
        &self.note
    }
}

impl Drop for Incarnation {
    fn drop(&mut self) {
        self.cell.kill();
    }
}

/// What an incarnation leaves behind for its supervisor.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExitNote(Arc<Mutex<Note>>);

#[derive(Debug, Default)]
struct Note {
    last: Last,
    stopped: Vec<Stopped>,
    gave_up: Option<GaveUp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Last {
    #[default]
    Nothing,
    Finished,
    Failed,
}

impl ExitNote {
    fn read(&self) -> MutexGuard<'_, Note> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how a supervisor's children were stopped.
    pub(crate) fn leave_stopped(&self, stopped: Vec<Stopped>) {
        self.read().stopped.extend(stopped);
    }

    pub(crate) fn take_stopped(&self) -> Vec<Stopped> {
        std::mem::take(&mut self.read().stopped)
    }

    /// Notes why a supervisor ends.
    pub(crate) fn leave_gave_up(&self, gave_up: GaveUp) {
        self.read().gave_up = Some(gave_up);
    }

    pub(crate) fn take_gave_up(&self) -> Option<GaveUp> {
        self.read().gave_up.take()
    }
}

/// An actor that takes notes of its hooks.
pub(crate) struct Noted<A> {
    pub(crate) actor: A,
    pub(crate) note: ExitNote,
    pub(crate) line: Arc<Line>,
}

impl<A> Noted<A> {
    fn keep(&self, result: Result<(), ActorProcessingErr>) -> Result<(), ActorProcessingErr> {
        if result.is_err() {
            self.note.read().last = Last::Failed;
        }
        result
    }
}

impl<A: Actor> Actor for Noted<A> {
    type Msg = A::Msg;
    type State = A::State;
    type Arguments = A::Arguments;

    async fn pre_start(&self, myself: ActorRef<A::Msg>, args: A::Arguments) -> Result<A::State, ActorProcessingErr> {
        self.actor.pre_start(myself, args).await
    }

    async fn post_start(&self, myself: ActorRef<A::Msg>, state: &mut A::State) -> Result<(), ActorProcessingErr> {
        self.keep(self.actor.post_start(myself, state).await)
    }

    async fn handle(
        &self,
        me: ActorRef<A::Msg>,
        message: A::Msg,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.line.gone();
        self.keep(self.actor.handle(me, message, state).await)
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<A::Msg>,
        event: SupervisionEvent,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.keep(self.actor.handle_supervisor_evt(myself, event, state).await)
    }

    async fn post_stop(&self, myself: ActorRef<A::Msg>, state: &mut A::State) -> Result<(), ActorProcessingErr> {
        self.keep(self.actor.post_stop(myself, state).await)?;
        self.note.read().last = Last::Finished;
        Ok(())
    }
}
