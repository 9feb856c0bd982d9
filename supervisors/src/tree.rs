//! A whole tree of supervisors.

use std::sync::Arc;

use stateset_domain::Stream;
use stateset_telemetry::EventSink;

use crate::child_spec::Environment;
use crate::incarnation::ExitNote;
use crate::{ChildSpec, GaveUp, Incarnation, Restart, StartContext, StartError, Stopped, SupervisorSpec};

/// A running tree. Dropped without [`Tree::shutdown`], it is killed.
#[must_use = "the tree ends when this is dropped"]
#[derive(Debug)]
pub struct Tree {
    root: Incarnation,
}

impl Tree {
    /// Starts `root` and all below it. Every supervisor tells `sink` what happens; `random` draws their waits.
    ///
    /// # Errors
    /// [`StartError`] naming the child that could not be started. Those that were have been stopped again, last started first.
    pub async fn start(root: SupervisorSpec, sink: Arc<dyn EventSink>, random: Stream) -> Result<Self, StartError> {
        let environment = Environment { sink, random };
        let context = StartContext { incarnation: 1, supervisor: None, environment, note: ExitNote::default() };
        let spec = ChildSpec::supervisor(Restart::Temporary, root);
        Ok(Self { root: (spec.start)(context).await? })
    }

    /// Resolves when the root has ended of itself. Its children are then stopped. Cancel-safe.
    ///
    /// # Errors
    /// [`GaveUp`] with the causal chain down to the failure that began it, the first time it is asked.
    pub async fn ended(&mut self) -> Result<(), GaveUp> {
        self.root.gone().await;
        self.root.note().take_gave_up().map_or(Ok(()), Err)
    }

    /// Stops everything, last started first, each child within its budgets. Returns how, in that order; if the root had given up, how
    /// it had stopped its children.
    pub async fn shutdown(mut self) -> Vec<Stopped> {
        self.root.cell.stop(None);
        self.root.gone().await;
        self.root.note().take_stopped()
    }
}
