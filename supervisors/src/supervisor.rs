//! The supervisor actor: supervision events in, the policy's decisions carried out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use stateset_telemetry::StopMeans;

use crate::child_spec::Environment;
use crate::family::Family;
use crate::incarnation::ExitNote;
use crate::policy::{Event, GiveUpReason, Ticket};
use crate::{
    Backoff, Budgets, ChildSpec, GaveUp, Handle, Intensity, Restart, SpawnError, StartContext, StartError, Strategy,
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
    /// The children it starts with, in this order.
    pub children: Vec<ChildSpec>,
}

impl SupervisorSpec {
    /// A supervisor with the default intensity and backoff.
    #[must_use]
    pub fn new(handle: &SupervisorHandle, strategy: Strategy, children: Vec<ChildSpec>) -> Self {
        let (intensity, backoff) = (Intensity::default(), Backoff::default());
        Self { handle: handle.clone(), strategy, intensity, backoff, children }
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
}

impl ChildSpec {
    /// A supervisor as a child. It is up when all its own children are; if they cannot all be started, those that were are stopped.
    #[must_use]
    pub fn supervisor(restart: Restart, spec: SupervisorSpec) -> Self {
        let name = spec.handle.name().to_owned();
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
        Self::new(&name, restart, start).with_budgets(Budgets::SUPERVISOR)
    }
}

pub(crate) enum Message {
    Due(Ticket),
    Spawn { spec: ChildSpec, reply: RpcReplyPort<Result<(), StartError>> },
}

struct Supervisor {
    environment: Environment,
    note: ExitNote,
}

impl Supervisor {
    /// Ends with an error, children first, if that is what the policy decides.
    async fn on_event(&self, event: Event, family: &mut Family) -> Result<(), ActorProcessingErr> {
        let outcome = family.on_event(event).await;
        self.conclude(outcome, family).await
    }

    async fn conclude(&self, outcome: Result<(), GaveUp>, family: &mut Family) -> Result<(), ActorProcessingErr> {
        let Err(mut gave_up) = outcome else { return Ok(()) };
        // ractor kills the children of an actor that ends: they must be gone before.
        let stopped = family.stop_all().await;
        if stopped.iter().any(|stopped| stopped.means == StopMeans::Zombie) {
            gave_up.reason = GiveUpReason::Unstoppable;
        }
        self.note.leave_stopped(stopped);
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
        _: ActorRef<Message>,
        message: Message,
        family: &mut Family,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Due(ticket) => self.on_event(Event::Due { ticket }, family).await,
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
        }
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Message>,
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
            _ => Ok(()),
        };
        self.conclude(outcome, family).await
    }

    async fn post_stop(&self, _: ActorRef<Message>, family: &mut Family) -> Result<(), ActorProcessingErr> {
        self.note.leave_stopped(family.stop_all().await);
        Ok(())
    }
}
