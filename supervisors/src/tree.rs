//! A whole tree of supervisors.

use std::sync::Arc;

use stateset_domain::Stream;
use stateset_telemetry::EventSink;

use crate::child_spec::Environment;
use crate::dead_letters::DeadLetters;
use crate::handover::Slot;
use crate::incarnation::ExitNote;
use crate::{ChildSpec, GaveUp, Incarnation, Restart, StartContext, StartError, Stopped, SupervisorSpec, View};

/// A running tree. Dropped without [`Tree::shutdown`], it is killed.
#[must_use = "the tree ends when this is dropped"]
#[derive(Debug)]
pub struct Tree {
    root: Incarnation,
    view: View,
}

impl Tree {
    /// Starts `root` and all below it. Every supervisor tells `sink` what happens; `random` draws their waits.
    ///
    /// # Errors
    /// [`StartError`] naming the child that could not be started. Those that were have been stopped again, last started first.
    pub async fn start(root: SupervisorSpec, sink: Arc<dyn EventSink>, random: Stream) -> Result<Self, StartError> {
        let dead = Arc::<DeadLetters>::default();
        let view = View::new(&root.handle, Arc::clone(&dead));
        let environment = Environment { sink, random, dead };
        let spec = ChildSpec::supervisor(Restart::Temporary, root);
        let (note, line, slot) = (ExitNote::default(), Arc::clone(&spec.line), Slot::default());
        let context = StartContext { incarnation: line.starting(), supervisor: None, environment, note, line, slot };
        let root = (spec.start)(context).await?;
        view.root().up();
        Ok(Self { root, view })
    }

    /// A way to look at it from any thread, whatever becomes of it.
    #[must_use]
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Resolves when the root has ended of itself: well if its significant children were done. Its children are then stopped.
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`GaveUp`] with the causal chain down to the failure that began it, the first time it is asked.
    pub async fn ended(&mut self) -> Result<(), GaveUp> {
        self.root.gone().await;
        self.view.root().ended(None);
        self.root.note().take_gave_up().map_or(Ok(()), Err)
    }

    /// Stops everything, last started first, each child within its budgets. Returns how, in that order; if the root had ended of
    /// itself, how it had stopped its children.
    pub async fn shutdown(mut self) -> Vec<Stopped> {
        self.root.cell.stop(None);
        self.root.gone().await;
        self.view.root().ended(None);
        self.root.note().take_stopped()
    }
}
