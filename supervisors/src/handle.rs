//! Reaching a child over restarts.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ractor::{ActorRef, ActorStatus, Message, MessagingErr, RpcReplyPort};
use thiserror::Error;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::dead_letters::DeadReason;
use crate::line::Line;

/// A child's stable address: it refers to whichever incarnation lives, or to none. Made before the child, so that children can be
/// wired to each other in any order.
///
/// Delivery is at most once: what an incarnation has not handled when it ends is lost with its mailbox. What one sender sends arrives
/// in order. A handle may retain: messages sent while nobody lives are kept, up to a bound, and the next incarnation gets them first.
pub struct Handle<M>(Arc<Shared<M>>);

struct Shared<M> {
    line: Arc<Line>,
    /// Read by everyone who sends, at once.
    current: ArcSwapOption<ActorRef<M>>,
    /// Told when an incarnation takes the place.
    published: Notify,
    retained: Option<Retained<M>>,
}

/// Messages for an incarnation to come. Whoever sends or publishes holds the queue meanwhile, so nobody overtakes.
struct Retained<M> {
    bound: usize,
    queue: Mutex<VecDeque<M>>,
}

impl<M> Retained<M> {
    fn queue(&self) -> MutexGuard<'_, VecDeque<M>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        Self::with(name, None)
    }

    /// The address of a child to be, that keeps up to `bound` messages while nobody lives.
    #[must_use]
    pub fn retaining(name: &str, bound: usize) -> Self {
        Self::with(name, Some(Retained { bound, queue: Mutex::default() }))
    }

    fn with(name: &str, retained: Option<Retained<M>>) -> Self {
        let line = Line::new(name, short_name::<M>());
        Self(Arc::new(Shared { line, current: ArcSwapOption::empty(), published: Notify::new(), retained }))
    }

    /// Sends a message. One that comes back is counted as a dead letter.
    ///
    /// # Errors
    /// [`Undelivered`] with the message if no incarnation takes it, and it is not retained either.
    pub fn send(&self, message: M) -> Result<(), Undelivered<M>> {
        self.offer(message).inspect_err(|_| self.bury())
    }

    /// Sends a message, to be offered again if it comes back: that makes no dead letter.
    ///
    /// # Errors
    /// As [`Handle::send`].
    pub fn offer(&self, message: M) -> Result<(), Undelivered<M>> {
        let sent = match &self.0.retained {
            None => self.deliver(message),
            Some(retained) => {
                let mut queue = retained.queue();
                let kept = if queue.is_empty() { self.deliver(message) } else { Err(message) };
                kept.or_else(|message| {
                    if queue.len() >= retained.bound || self.0.line.is_degraded() {
                        return Err(message);
                    }
                    queue.push_back(message);
                    Ok(())
                })
            }
        };
        sent.map_err(|message| Undelivered { child: Arc::clone(&self.0.line.name), message })
    }

    /// Counts a dead letter: a message that was offered in vain, and will not be again.
    pub fn bury(&self) {
        self.0.line.bury(DeadReason::Down, 1);
    }

    fn deliver(&self, message: M) -> Result<(), M> {
        match &*self.0.current.load() {
            Some(actor) => self.deliver_to(actor, message),
            None => Err(message),
        }
    }

    fn deliver_to(&self, actor: &ActorRef<M>, message: M) -> Result<(), M> {
        self.0.line.sending();
        actor.send_message(message).map_err(|error| {
            self.0.line.gone();
            match error {
                MessagingErr::SendErr(message) => message,
                MessagingErr::ChannelClosed | MessagingErr::InvalidActorType => {
                    unreachable!("a published actor takes messages of its handle's type, and sending does not receive")
                }
            }
        })
    }

    /// Points it at an incarnation that has just been spawned, which gets what was retained: for start functions of
    /// [`ChildSpec::new`](crate::ChildSpec::new).
    pub fn publish(&self, actor: ActorRef<M>) {
        let mut queue = self.0.retained.as_ref().map(Retained::queue);
        while let Some(message) = queue.as_mut().and_then(|queue| queue.pop_front()) {
            if let (Err(message), Some(queue)) = (self.deliver_to(&actor, message), &mut queue) {
                queue.push_front(message);
                break;
            }
        }
        self.0.current.store(Some(Arc::new(actor)));
        self.0.published.notify_waiters();
    }

    /// There will be no incarnation to give the retained messages to.
    pub(crate) fn abandon(&self) {
        if let Some(retained) = &self.0.retained {
            let abandoned = std::mem::take(&mut *retained.queue());
            self.0.line.bury(DeadReason::Abandoned, abandoned.len() as u64);
        }
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
            Ok(Err(_)) => Err(CallError::Dropped { child: Arc::clone(&self.0.line.name) }),
            Err(_) => Err(CallError::Deadline { child: Arc::clone(&self.0.line.name), after: deadline }),
        }
    }

    /// Waits until an incarnation is up.
    ///
    /// # Errors
    /// [`CallError::Deadline`] if none is in time.
    pub async fn wait_up(&self, deadline: Duration) -> Result<(), CallError> {
        let late = |_| CallError::Deadline { child: Arc::clone(&self.0.line.name), after: deadline };
        timeout(deadline, self.up()).await.map_err(late)
    }

    async fn up(&self) {
        loop {
            // Listens before it looks, so that what is published in between is heard.
            let published = self.0.published.notified();
            if self.is_up() {
                return;
            }
            published.await;
        }
    }

    /// Whether an incarnation takes messages.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.0.current.load().as_ref().is_some_and(|actor| actor.get_status() < ActorStatus::Draining)
    }
}

impl<M> Handle<M> {
    /// The child's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.line.name
    }

    pub(crate) fn line(&self) -> &Arc<Line> {
        &self.0.line
    }
}

/// A type's name without the modules it is in.
fn short_name<M>() -> &'static str {
    let name = std::any::type_name::<M>();
    let parameters = name.find('<').unwrap_or(name.len());
    name[..parameters].rfind("::").map_or(name, |at| &name[at + 2..])
}

impl<M> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("name", &self.0.line.name).finish_non_exhaustive()
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
