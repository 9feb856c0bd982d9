//! Reaching a child over restarts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorRef, ActorStatus, Message, MessagingErr, RpcReplyPort};
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

/// A child's stable address: it refers to whichever incarnation lives, or to none. Made before the child, so that children can be
/// wired to each other in any order.
///
/// Delivery is at most once: what an incarnation has not handled when it ends is lost with its mailbox.
pub struct Handle<M> {
    name: Arc<str>,
    current: watch::Sender<Option<ActorRef<M>>>,
}

/// A message that nobody took.
pub struct Undelivered<M> {
    /// Whom it was for.
    pub child: Arc<str>,
    /// The message.
    pub message: M,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallError {
    /// No incarnation lives.
    #[error("{child} is down")]
    Down {
        /// Who was called.
        child: Arc<str>,
    },
    /// The time was up.
    #[error("{child} did not answer within {after:?}")]
    Deadline {
        /// Who was called.
        child: Arc<str>,
        /// The time it had.
        after: Duration,
    },
    /// The call was taken but dropped unanswered: the incarnation ended, or does not want to answer.
    #[error("{child} dropped the call")]
    Dropped {
        /// Who was called.
        child: Arc<str>,
    },
}

impl<M: Message> Handle<M> {
    /// The address of a child to be.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), current: watch::Sender::new(None) }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`Undelivered`] with the message if no incarnation takes it.
    pub fn send(&self, message: M) -> Result<(), Undelivered<M>> {
        let sent = match &*self.current.borrow() {
            Some(actor) => actor.send_message(message),
            None => Err(MessagingErr::SendErr(message)),
        };
        sent.map_err(|error| match error {
            MessagingErr::SendErr(message) => Undelivered { child: Arc::clone(&self.name), message },
            MessagingErr::ChannelClosed | MessagingErr::InvalidActorType => {
                unreachable!("a published actor takes messages of its handle's type, and sending does not receive")
            }
        })
    }

    /// Sends the message that `build` makes of a reply port, and waits for the reply.
    ///
    /// # Errors
    /// [`CallError`] if there is none.
    pub async fn call<T: Send + 'static>(
        &self,
        build: impl FnOnce(RpcReplyPort<T>) -> M,
        deadline: Duration,
    ) -> Result<T, CallError> {
        let (reply, answer) = oneshot::channel();
        self.send(build((reply, deadline).into()))
            .map_err(|undelivered| CallError::Down { child: undelivered.child })?;
        match timeout(deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(CallError::Dropped { child: Arc::clone(&self.name) }),
            Err(_) => Err(CallError::Deadline { child: Arc::clone(&self.name), after: deadline }),
        }
    }

    /// Waits until an incarnation is up.
    ///
    /// # Errors
    /// [`CallError::Deadline`] if none is in time.
    pub async fn wait_up(&self, deadline: Duration) -> Result<(), CallError> {
        let mut current = self.current.subscribe();
        match timeout(deadline, current.wait_for(is_up)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(CallError::Down { child: Arc::clone(&self.name) }),
            Err(_) => Err(CallError::Deadline { child: Arc::clone(&self.name), after: deadline }),
        }
    }

    /// Whether an incarnation takes messages.
    #[must_use]
    pub fn is_up(&self) -> bool {
        is_up(&self.current.borrow())
    }
}

impl<M> Handle<M> {
    /// The child's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Points it at an incarnation that has just been spawned: for start functions of [`ChildSpec::new`](crate::ChildSpec::new).
    pub fn publish(&self, actor: ActorRef<M>) {
        self.current.send_replace(Some(actor));
    }
}

fn is_up<M>(current: &Option<ActorRef<M>>) -> bool {
    current.as_ref().is_some_and(|actor| actor.get_status() < ActorStatus::Draining)
}

impl<M> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { name: Arc::clone(&self.name), current: self.current.clone() }
    }
}

impl<M> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<M> fmt::Debug for Undelivered<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undelivered").field("child", &self.child).finish_non_exhaustive()
    }
}

impl<M> fmt::Display for Undelivered<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is down and takes no messages", self.child)
    }
}

impl<M> std::error::Error for Undelivered<M> {}
