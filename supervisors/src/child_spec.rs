//! How a child is started, again and again.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorRef, Message, SpawnErr};
use stateset_domain::Stream;
use stateset_telemetry::EventSink;

use crate::dead_letters::DeadLetters;
use crate::handover::{Handover, Slot};
use crate::incarnation::{ExitNote, Noted};
use crate::line::Line;
use crate::{Budgets, Handle, Incarnation, Intensity, Restart, StartError};

type Starting = Pin<Box<dyn Future<Output = Result<Incarnation, StartError>> + Send>>;

/// A child, as its supervisor needs to know it.
#[derive(Clone)]
pub struct ChildSpec {
    /// Its name, unique among its siblings.
    pub name: String,
    /// When it is restarted.
    pub restart: Restart,
    /// How long its start and its end may take.
    pub budgets: Budgets,
    /// Whether its end may be its supervisor's: see [`AutoShutdown`](crate::AutoShutdown).
    pub significant: bool,
    /// How many failures of this child alone are too many, besides what its supervisor bears of all.
    pub intensity: Option<Intensity>,
    /// The longest it may take to be stopped.
    pub(crate) to_end: Option<Duration>,
    pub(crate) line: Arc<Line>,
    /// Called when it is down for good.
    pub(crate) abandon: Arc<dyn Fn() + Send + Sync>,
    pub(crate) start: Arc<dyn Fn(StartContext) -> Starting + Send + Sync>,
}

impl ChildSpec {
    /// A child started by any means that end in [`StartContext::spawn`]. `start` runs for every incarnation and must be quick: its
    /// supervisor waits for it. It may wait, up to its budget, but not block its thread, which no budget can end.
    pub fn new<F>(name: &str, restart: Restart, start: impl Fn(StartContext) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Incarnation, StartError>> + Send + 'static,
    {
        let start = Arc::new(move |context| -> Starting { Box::pin(start(context)) });
        Self {
            name: name.into(),
            restart,
            budgets: Budgets::default(),
            significant: false,
            intensity: None,
            to_end: None,
            line: Line::new(name, "?"),
            abandon: Arc::new(|| ()),
            start,
        }
    }

    /// An actor that `handle` reaches, whichever incarnation lives. `make` is given the number of the incarnation, from 1.
    pub fn actor<A: Actor>(
        handle: &Handle<A::Msg>,
        restart: Restart,
        make: impl Fn(u64) -> (A, A::Arguments) + Send + Sync + 'static,
    ) -> Self {
        Self::heir(handle, restart, move |incarnation, _: Handover<()>| make(incarnation))
    }

    /// Such an actor that is also given the place where it may leave a snapshot, with what the incarnation before it left there.
    pub fn heir<A: Actor, T: Send + Sync + 'static>(
        handle: &Handle<A::Msg>,
        restart: Restart,
        make: impl Fn(u64, Handover<T>) -> (A, A::Arguments) + Send + Sync + 'static,
    ) -> Self {
        let published = handle.clone();
        let start = move |context: StartContext| {
            let (actor, arguments) = make(context.incarnation(), context.handover());
            let handle = published.clone();
            async move {
                let (actor, incarnation) = context.spawn(actor, arguments).await?;
                handle.publish(actor);
                Ok(incarnation)
            }
        };
        Self::new(handle.name(), restart, start).reached_by(handle)
    }

    /// The same child, reached through `handle`, which its start function publishes: its mailbox is then counted, and what it loses.
    #[must_use]
    pub fn reached_by<M: Message>(self, handle: &Handle<M>) -> Self {
        let (line, abandoned) = (Arc::clone(handle.line()), handle.clone());
        Self { line, abandon: Arc::new(move || abandoned.abandon()), ..self }
    }

    /// A temporary child made of values, which its only start consumes.
    pub fn once<A: Actor>(name: &str, actor: A, arguments: A::Arguments) -> Self {
        let parts = Mutex::new(Some((actor, arguments)));
        Self::new(name, Restart::Temporary, move |context: StartContext| {
            let parts = parts.lock().unwrap_or_else(PoisonError::into_inner).take();
            async move {
                let (actor, arguments) =
                    parts.ok_or_else(|| StartError::Refused("it has been started before".into()))?;
                Ok(context.spawn(actor, arguments).await?.1)
            }
        })
    }

    /// The same child with other budgets.
    #[must_use]
    pub fn with_budgets(self, budgets: Budgets) -> Self {
        Self { budgets, ..self }
    }

    /// The same child, started as whatever `latest` says when it is started: so it is what it has been told last, even if it comes back with
    /// its supervisor.
    #[must_use]
    pub fn renewed(self, latest: impl Fn() -> Self + Send + Sync + 'static) -> Self {
        Self { start: Arc::new(move |context| (latest().start)(context)), ..self }
    }

    /// The same child, whose end may be its supervisor's.
    #[must_use]
    pub fn significant(self) -> Self {
        Self { significant: true, ..self }
    }

    /// The same child, whose failures are also counted alone.
    #[must_use]
    pub fn with_intensity(self, intensity: Intensity) -> Self {
        Self { intensity: Some(intensity), ..self }
    }

    /// The longest it may take to be stopped.
    pub(crate) fn to_end(&self) -> Duration {
        self.to_end.unwrap_or_else(|| self.budgets.to_end())
    }
}

/// What all supervisors of a tree share.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) sink: Arc<dyn EventSink>,
    pub(crate) random: Stream,
    pub(crate) dead: Arc<DeadLetters>,
}

/// One start of a child.
pub struct StartContext {
    pub(crate) incarnation: u64,
    /// None for the root.
    pub(crate) supervisor: Option<ActorCell>,
    pub(crate) environment: Environment,
    pub(crate) note: ExitNote,
    pub(crate) line: Arc<Line>,
    pub(crate) slot: Slot,
}

impl StartContext {
    /// Which incarnation this is going to be: 1 at first, and never the same twice, not even if its supervisor is restarted.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Where this incarnation may leave a snapshot, and finds what the one before it left.
    #[must_use]
    pub fn handover<T: Send + Sync + 'static>(&self) -> Handover<T> {
        Handover::new(self.slot.clone())
    }

    /// Starts `actor` under the supervisor. It has no name in ractor's registry, which is global to the process.
    ///
    /// # Errors
    /// [`StartError::Refused`] if the actor's `pre_start` fails.
    pub async fn spawn<A: Actor>(
        self,
        actor: A,
        arguments: A::Arguments,
    ) -> Result<(ActorRef<A::Msg>, Incarnation), StartError> {
        let noted = Noted { actor, note: self.note.clone(), line: self.line };
        let spawned = match self.supervisor {
            Some(supervisor) => Actor::spawn_linked(None, noted, arguments, supervisor).await,
            None => Actor::spawn(None, noted, arguments).await,
        };
        let (actor, task) = spawned.map_err(refusal)?;
        let incarnation = Incarnation::new(actor.get_cell(), task, self.note);
        Ok((actor, incarnation))
    }
}

/// A nested supervisor refuses with a typed error; everyone else with text.
fn refusal(error: SpawnErr) -> StartError {
    match error {
        SpawnErr::StartupFailed(error) => match error.downcast::<StartError>() {
            Ok(nested) => *nested,
            Err(other) => StartError::Refused(other.to_string()),
        },
        SpawnErr::ActorAlreadyStarted | SpawnErr::ActorAlreadyRegistered(_) => StartError::Refused(error.to_string()),
    }
}
