//! The supervisor actor: supervision events in, the policy's decisions carried out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use stateset_telemetry::StopMeans;

use crate::child_spec::Environment;
use crate::family::{Family, Outcome};
use crate::incarnation::ExitNote;
use crate::line::Line;
use crate::policy::{Event, GiveUpReason, Rules, Ticket};
use crate::{
    AutoShutdown, Backoff, Budgets, ChildSpec, Excess, GaveUp, Handle, Intensity, Restart, RestartError, SpawnError,
    StartContext, StartError, Strategy,
};

/// A supervisor, as whoever starts it needs to know it.
#[derive(Clone)]
pub struct SupervisorSpec {
    /// How it is reached, and its name.
    pub handle: SupervisorHandle,
    /// Whom a failure concerns.
    pub strategy: Strategy,
    /// How often is too often.
    pub intensity: Intensity,
    /// How long restarts wait.
    pub backoff: Backoff,
    /// What follows when restarting does not help.
    pub excess: Excess,
    /// Whether it ends when its significant children have.
    pub auto_shutdown: AutoShutdown,
    /// The children it starts with, in this order.
    pub children: Vec<ChildSpec>,
}

impl SupervisorSpec {
    /// A supervisor with the default intensity and backoff, that gives up when restarting does not help, and ends when it is told to.
    #[must_use]
    pub fn new(handle: &SupervisorHandle, strategy: Strategy, children: Vec<ChildSpec>) -> Self {
        let (intensity, backoff) = (Intensity::default(), Backoff::default());
        let (excess, auto_shutdown) = (Excess::default(), AutoShutdown::default());
        Self { handle: handle.clone(), strategy, intensity, backoff, excess, auto_shutdown, children }
    }

    /// The longest it may take to be stopped: the ladders of all its children, one after another. Those that are added while it runs are
    /// stopped together, and add the longest of their ladders.
    #[must_use]
    pub fn to_end(&self) -> Duration {
        self.children.iter().fold(Duration::ZERO, |sum, child| sum.saturating_add(child.to_end()))
    }

    pub(crate) fn rules(&self) -> Rules {
        let Self { strategy, intensity, backoff, excess, auto_shutdown, .. } = *self;
        Rules { strategy, intensity, backoff, excess, auto_shutdown }
    }
}

/// A supervisor's stable address.
#[derive(Debug, Clone)]
pub struct SupervisorHandle(Handle<Message>);

impl SupervisorHandle {
    /// The address of a supervisor to be.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Handle::new(name))
    }

    /// The supervisor's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Adds a child, and waits until it is up. A temporary one is forgotten when it ends; any other is kept until the supervisor ends.
    /// At a shutdown, children added this way are stopped together, before all others.
    ///
    /// # Errors
    /// [`SpawnError`] if it is not up in time: then it is not running, or is being stopped.
    pub async fn spawn(&self, spec: ChildSpec, deadline: Duration) -> Result<(), SpawnError> {
        let child = spec.name.clone();
        let started = self.0.call(|reply| Message::Spawn { spec, reply }, deadline).await?;
        started.map_err(|source| SpawnError::Start { child, source })
    }

    pub(crate) fn line(&self) -> &Arc<Line> {
        self.0.line()
    }
}

impl ChildSpec {
    /// A supervisor as a child. It is up when all its own children are; if they cannot all be started, those that were are stopped.
    #[must_use]
    pub fn supervisor(restart: Restart, spec: SupervisorSpec) -> Self {
        let (handle, to_end) = (spec.handle.clone(), spec.to_end());
        let start = move |context: StartContext| {
            let spec = spec.clone();
            async move {
                let handle = spec.handle.clone();
                let supervisor = Supervisor { environment: context.environment.clone(), note: context.note.clone() };
                let (actor, incarnation) = context.spawn(supervisor, spec).await?;
                handle.0.publish(actor);
                Ok(incarnation)
            }
        };
        let child = Self::new(handle.name(), restart, start).reached_by(&handle.0);
        Self { budgets: Budgets::SUPERVISOR, to_end: Some(to_end), ..child }
    }
}

pub(crate) enum Message {
    Due(Ticket),
    Spawn { spec: ChildSpec, reply: RpcReplyPort<Result<(), StartError>> },
    Restart { child: String, reply: RpcReplyPort<Result<(), RestartError>> },
}

struct Supervisor {
    environment: Environment,
    note: ExitNote,
}

impl Supervisor {
    /// Ends, children first, if that is what the policy decides.
    async fn on_event(
        &self,
        myself: &ActorRef<Message>,
        event: Event,
        family: &mut Family,
    ) -> Result<(), ActorProcessingErr> {
        let outcome = family.on_event(event).await;
        self.conclude(myself, outcome, family).await
    }

    async fn conclude(
        &self,
        myself: &ActorRef<Message>,
        outcome: Outcome,
        family: &mut Family,
    ) -> Result<(), ActorProcessingErr> {
        if matches!(outcome, Outcome::Goes) {
            return Ok(());
        }
        // ractor kills the children of an actor that ends: they must be gone before.
        let stopped = family.stop_all().await;
        let zombie =
            stopped.iter().find(|stopped| stopped.means == StopMeans::Zombie).map(|zombie| zombie.child.clone());
        self.note.leave_stopped(stopped);
        let gave_up = match (outcome, zombie) {
            (Outcome::GivesUp(gave_up), None) => *gave_up,
            (Outcome::GivesUp(gave_up), Some(_)) => GaveUp { reason: GiveUpReason::Unstoppable, ..*gave_up },
            (Outcome::Goes | Outcome::Finishes, Some(child)) => family.unstoppable(child),
            (Outcome::Goes | Outcome::Finishes, None) => {
                myself.stop(None);
                return Ok(());
            }
        };
        self.note.leave_gave_up(gave_up.clone());
        Err(gave_up.into())
    }
}

impl Actor for Supervisor {
    type Msg = Message;
    type State = Family;
    type Arguments = SupervisorSpec;

    async fn pre_start(&self, myself: ActorRef<Message>, spec: SupervisorSpec) -> Result<Family, ActorProcessingErr> {
        let mut family = Family::new(&spec, myself, self.environment.clone());
        for child in spec.children {
            let name = child.name.clone();
            if let Err(source) = family.add(child, false).await {
                family.stop_all().await;
                return Err(StartError::Child { child: name, source: Box::new(source) }.into());
            }
        }
        Ok(family)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        family: &mut Family,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Due(ticket) => self.on_event(&myself, Event::Due { ticket }, family).await,
            Message::Spawn { reply, .. } if reply.is_closed() => Ok(()),
            Message::Spawn { spec, reply } => {
                let (started, key) = match family.add(spec, true).await {
                    Ok(key) => (Ok(()), Some(key)),
                    Err(error) => (Err(error), None),
                };
                // Whoever asked has given up, and must not be surprised by a child it believes not to exist.
                if let (Err(_), Some(key)) = (reply.send(started), key) {
                    family.revoke(key).await;
                }
                Ok(())
            }
            Message::Restart { child, reply } => {
                let Some(key) = family.restartable(&child) else {
                    // If nobody hears it, nobody waits for it.
                    let _ = reply.send(Err(RestartError::Unknown { child }));
                    return Ok(());
                };
                let outcome = family.on_event(Event::Asked { child: key }).await;
                let _ = reply.send(Ok(()));
                self.conclude(&myself, outcome, family).await
            }
        }
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        family: &mut Family,
    ) -> Result<(), ActorProcessingErr> {
        let outcome = match event {
            SupervisionEvent::ActorTerminated(child, state, _) => {
                // The child's own code runs in this drop, and must not end its supervisor.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(state)));
                family.exited(child.get_id(), None).await
            }
            SupervisionEvent::ActorFailed(child, error) => family.exited(child.get_id(), Some(error.to_string())).await,
            // Starts are known from their return, and nobody here joins process groups.
            _ => Outcome::Goes,
        };
        self.conclude(&myself, outcome, family).await
    }

    async fn post_stop(&self, _: ActorRef<Message>, family: &mut Family) -> Result<(), ActorProcessingErr> {
        self.note.leave_stopped(family.stop_all().await);
        Ok(())
    }
}
