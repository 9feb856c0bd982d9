//! Replies that an actor owes while a thread of its own works on them.
//!
//! They belong to the actor, not to the thread: when the actor goes they are dropped, and whoever waits hears at once that nobody will
//! answer, even if the thread hangs and keeps everything it was given.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::protocol::Reply;

/// Replies of one kind, by number.
pub(crate) struct Owed<T>(Arc<Mutex<HashMap<u64, Reply<T>>>>);

/// The actor's side: dropped, everything it still owes is dropped too.
pub(crate) struct Debtor<T> {
    owed: Owed<T>,
    next: u64,
}

impl<T> Debtor<T> {
    pub(crate) fn new() -> Self {
        Self { owed: Owed(Arc::default()), next: 0 }
    }

    /// The thread's side.
    pub(crate) fn owed(&self) -> Owed<T> {
        Owed(Arc::clone(&self.owed.0))
    }

    /// Takes a reply in, and names it.
    pub(crate) fn owe(&mut self, reply: Reply<T>) -> u64 {
        self.next += 1;
        self.owed.replies().insert(self.next, reply);
        self.next
    }
}

impl<T> Drop for Debtor<T> {
    fn drop(&mut self) {
        self.owed.replies().clear();
    }
}

impl<T> Owed<T> {
    fn replies(&self) -> MutexGuard<'_, HashMap<u64, Reply<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody still waits for it.
    pub(crate) fn is_due(&self, reply: u64) -> bool {
        self.replies().get(&reply).is_some_and(|reply| !reply.is_closed())
    }

    /// Answers, if somebody still waits.
    pub(crate) fn pay(&self, reply: u64, answer: T) {
        if let Some(reply) = self.replies().remove(&reply) {
            // Whoever asked may have gone away since.
            let _ = reply.send(answer);
        }
    }

    /// Nobody will answer.
    pub(crate) fn forgive(&self, reply: u64) {
        self.replies().remove(&reply);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn what_is_owed_is_paid_once_or_dropped_with_the_debtor() {
        let mut debtor = Debtor::new();
        let owed = debtor.owed();
        let ((first, mut paid), (second, mut dropped)) = (oneshot::channel(), oneshot::channel());
        let (first, second) = (debtor.owe(first), debtor.owe(second));
        owed.pay(first, 7);
        assert_eq!(paid.try_recv(), Ok(7));
        assert!(owed.is_due(second) && !owed.is_due(first));
        drop(debtor);
        assert_eq!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        owed.pay(second, 8);
    }
}
