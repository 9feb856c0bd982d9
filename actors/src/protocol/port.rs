//! How one actor reaches another.
//!
//! A [`Port`] outlives the incarnations of the actor behind it. Its owner neither knows nor cares who restarts that actor; it only
//! sees that for a moment nobody is there, and gets its message back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorRef, Message, MessagingErr};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

/// Where an answer goes. Dropping it is an answer too: [`CallError::Dropped`].
pub type Reply<T> = oneshot::Sender<T>;

/// How long to wait before knocking again at a port with nobody behind it.
const KNOCK: Duration = Duration::from_millis(5);

/// A way to send `M` to whichever incarnation of an actor is alive.
pub struct Port<M> {
    deliver: Arc<dyn Fn(M) -> Result<(), M> + Send + Sync>,
    /// Told of every message that is not offered again.
    abandon: Arc<dyn Fn() + Send + Sync>,
}

/// Nobody was there to take the message.
#[derive(Error)]
#[error("the receiver is down")]
pub struct Undelivered<M>(pub M);

/// Why a call brought no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CallError {
    /// Nobody was there to ask until the deadline.
    #[error("was down until the deadline")]
    Down,
    /// The answer did not come in time.
    #[error("did not answer within its deadline")]
    Deadline,
    /// The one asked went away without answering.
    #[error("went away without answering")]
    Dropped,
}

impl<M: Send + 'static> Port<M> {
    /// A port that delivers through `deliver`, which gives the message back when nobody is there.
    pub fn new(deliver: impl Fn(M) -> Result<(), M> + Send + Sync + 'static) -> Self {
        Self { deliver: Arc::new(deliver), abandon: Arc::new(|| ()) }
    }

    /// The same port, with `abandon` told of every message that found nobody and is not offered again.
    #[must_use]
    pub fn mourned(self, abandon: impl Fn() + Send + Sync + 'static) -> Self {
        Self { abandon: Arc::new(abandon), ..self }
    }

    /// A port to one incarnation of an actor, down for ever once that has ended.
    #[must_use]
    pub fn to(actor: ActorRef<M>) -> Self
    where
        M: Message,
    {
        Self::new(move |message| match actor.send_message(message) {
            Ok(()) => Ok(()),
            Err(MessagingErr::SendErr(message)) => Err(message),
            Err(MessagingErr::ChannelClosed | MessagingErr::InvalidActorType) => {
                unreachable!("a typed reference to a local actor returns the message it cannot deliver")
            }
        })
    }

    /// A port into a channel, for tests.
    #[must_use]
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<M>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self::new(move |message| sender.send(message).map_err(|error| error.0)), receiver)
    }

    /// Delivers now or not at all.
    ///
    /// # Errors
    /// [`Undelivered`] with the message if nobody is there.
    pub fn send(&self, message: M) -> Result<(), Undelivered<M>> {
        self.offer(message).inspect_err(|_| (self.abandon)())
    }

    fn offer(&self, message: M) -> Result<(), Undelivered<M>> {
        (self.deliver)(message).map_err(Undelivered)
    }

    /// Delivers, waiting up to `patience` for somebody to be there.
    ///
    /// # Errors
    /// [`Undelivered`] with the message if nobody came.
    pub async fn post(&self, mut message: M, patience: Duration) -> Result<(), Undelivered<M>> {
        let until = Instant::now() + patience;
        while let Err(undelivered) = self.offer(message) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                (self.abandon)();
                return Err(undelivered);
            }
            message = undelivered.0;
            sleep(left.min(KNOCK)).await;
        }
        Ok(())
    }

    /// Asks, and waits for the answer until `deadline` has passed.
    ///
    /// # Errors
    /// [`CallError`], by what was waited for in vain.
    pub async fn call<T>(&self, ask: impl FnOnce(Reply<T>) -> M, deadline: Duration) -> Result<T, CallError> {
        let until = Instant::now() + deadline;
        let (reply, answer) = oneshot::channel();
        self.post(ask(reply), deadline).await.map_err(|_| CallError::Down)?;
        match timeout_at(until, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(CallError::Dropped),
            Err(_) => Err(CallError::Deadline),
        }
    }
}

impl<M> Clone for Port<M> {
    fn clone(&self) -> Self {
        Self { deliver: Arc::clone(&self.deliver), abandon: Arc::clone(&self.abandon) }
    }
}

impl<M> fmt::Debug for Undelivered<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Undelivered")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Ask = Reply<u32>;

    #[tokio::test(start_paused = true)]
    async fn a_call_is_answered_dropped_or_late() {
        let (port, mut asked) = Port::<Ask>::channel();
        tokio::spawn(async move {
            asked.recv().await.unwrap().send(7).unwrap();
            drop(asked.recv().await);
            let unanswered = asked.recv().await;
            sleep(Duration::from_secs(60)).await;
            drop(unanswered);
        });
        let call = || port.call(|reply| reply, Duration::from_secs(1));
        assert_eq!(
            [call().await, call().await, call().await],
            [Ok(7), Err(CallError::Dropped), Err(CallError::Deadline)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_returned_when_nobody_comes_in_time() {
        let (port, asked) = Port::<&str>::channel();
        drop(asked);
        let started = Instant::now();
        let Undelivered(message) = port.post("hello", Duration::from_millis(200)).await.unwrap_err();
        assert_eq!((message, started.elapsed()), ("hello", Duration::from_millis(200)));
        assert_eq!(port.send("now").unwrap_err().0, "now");
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_reaches_an_actor_that_comes_back() {
        let opens = Instant::now() + Duration::from_millis(100);
        let port = Port::<u8>::new(move |message| if Instant::now() >= opens { Ok(()) } else { Err(message) });
        assert!(port.post(1, Duration::from_secs(1)).await.is_ok());
    }
}
