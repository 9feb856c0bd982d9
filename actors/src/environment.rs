//! The environment actor: begins episodes, and answers the policy's replies.
//!
//! It keeps no episode: a session travels with its conversation and visits here for each step. A restart costs the calls in flight.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use stateset_domain::FailureKind;
use stateset_environments::{Environment, EnvironmentError};
use thiserror::Error;

use crate::protocol::{Begin, EnvironmentMsg, Instruments, Site, Stepped, Ticket};

/// Starts a [`ConversationActor`](crate::ConversationActor), under whoever supervises conversations.
pub type ConversationSpawner =
    Arc<dyn Fn(Begin) -> Pin<Box<dyn Future<Output = Result<(), SpawnFailed>> + Send>> + Send + Sync>;

/// A conversation could not be started. Its ticket was dropped, and so its episode will be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot start a conversation: {0}")]
pub struct SpawnFailed(pub String);

/// Runs an [`Environment`].
#[derive(Debug, Clone, Copy, Default)]
pub struct EnvironmentActor;

/// What an [`EnvironmentActor`] starts with.
#[derive(Clone)]
pub struct EnvironmentArguments {
    /// The world.
    pub environment: Arc<dyn Environment>,
    /// Starts a conversation for every admitted episode.
    pub spawn: ConversationSpawner,
    /// What to report through.
    pub instruments: Instruments,
}

impl Actor for EnvironmentActor {
    type Msg = EnvironmentMsg;
    type State = EnvironmentArguments;
    type Arguments = EnvironmentArguments;

    async fn pre_start(
        &self,
        _myself: ActorRef<EnvironmentMsg>,
        arguments: EnvironmentArguments,
    ) -> Result<EnvironmentArguments, ActorProcessingErr> {
        Ok(arguments)
    }

    async fn handle(
        &self,
        _myself: ActorRef<EnvironmentMsg>,
        message: EnvironmentMsg,
        state: &mut EnvironmentArguments,
    ) -> Result<(), ActorProcessingErr> {
        state.instruments.visit(Site::Environment).await?;
        match message {
            EnvironmentMsg::Admit(ticket) => state.admit(ticket),
            EnvironmentMsg::Step { mut session, action, reply } => {
                let stepped = session.step(&action).map(|step| Stepped { session, step });
                // A conversation that went away has already failed its episode.
                let _ = reply.send(stepped);
            }
        }
        Ok(())
    }
}

impl EnvironmentArguments {
    fn admit(&self, ticket: Ticket) {
        let scenario = self.environment.scenario(ticket.split, ticket.index);
        match self.environment.start(&scenario, ticket.group_stream) {
            Err(EnvironmentError(cause)) => ticket.fail(FailureKind::Environment(cause)),
            Ok(start) => {
                let episode = ticket.episode;
                let begin = Begin { ticket, scenario: scenario.id, opening: start.opening, session: start.session };
                let starting = (self.spawn)(begin);
                // Not awaited here: the steps of other conversations need not wait for a supervisor.
                tokio::spawn(async move {
                    if let Err(error) = starting.await {
                        tracing::warn!(%episode, %error);
                    }
                });
            }
        }
    }
}
