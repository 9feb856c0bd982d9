//! Dedicated OS threads for work that computes or blocks, so that it never holds a worker of the async runtime.

use std::any::Any;
use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use crossbeam::channel::{Sender, TrySendError, bounded};
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

/// Keeps the threads of successive incarnations of one actor from overlapping. An actor that is killed cannot stop its thread, only
/// stop feeding it; the next incarnation's thread waits here until it has ended, so that no two ever write the same files.
#[derive(Debug, Clone, Default)]
pub struct Lease(Arc<Mutex<()>>);

/// A dedicated thread is gone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("its thread ended: {0}")]
pub struct ThreadEnded(pub(crate) String);

/// Runs `body` on a thread of its own, once the lease is free. `ended` is told why, unless it ended well.
pub(crate) fn spawn<E: Display>(
    name: &str,
    lease: Lease,
    body: impl FnOnce() -> Result<(), E> + Send + 'static,
    ended: impl FnOnce(String) + Send + 'static,
) -> io::Result<()> {
    let run = move || {
        let _held = lease.0.lock().unwrap_or_else(PoisonError::into_inner);
        match catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => ended(error.to_string()),
            Err(panic) => ended(format!("panic: {}", panic_text(&*panic))),
        }
    };
    Builder::new().name(name.into()).spawn(run).map(drop)
}

/// Queues `command`, waiting without blocking while the queue is full.
pub(crate) async fn push<C>(queue: &Sender<C>, mut command: C) -> Result<(), C> {
    loop {
        match queue.try_send(command) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Disconnected(command)) => return Err(command),
            Err(TrySendError::Full(returned)) => command = returned,
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// A value that lives on a thread of its own, and is worked on by sending it jobs.
pub(crate) struct Confined<T> {
    jobs: Sender<Job<T>>,
    /// Why the thread ended, once it has.
    fate: watch::Receiver<Option<String>>,
}

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

impl<T: 'static> Confined<T> {
    /// Builds the value there. If that fails, the first job says so.
    pub(crate) fn spawn<E: Display + 'static>(
        name: &str,
        lease: Lease,
        build: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> io::Result<Self> {
        let (jobs, queue) = bounded::<Job<T>>(1);
        let (told, fate) = watch::channel(None);
        let body = move || build().map(|mut value| queue.iter().for_each(|job| job(&mut value)));
        spawn(name, lease, body, move |cause| drop(told.send_replace(Some(cause)))).map(|()| Self { jobs, fate })
    }

    /// Runs `job` on the value. A job that panics ends the thread, for nobody knows what it left behind.
    pub(crate) async fn ask<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, ThreadEnded> {
        let (reply, answer) = oneshot::channel();
        let job: Job<T> = Box::new(move |value| drop(reply.send(job(value))));
        // A queue that is closed is seen below: its thread has ended, or is about to.
        let _ = push(&self.jobs, job).await;
        let mut fate = self.fate.clone();
        tokio::select! {
            biased;
            // Not the other case: a job may also be left in the queue of a thread that ended, neither run nor dropped.
            Ok(result) = answer => Ok(result),
            cause = fate.wait_for(Option::is_some) => {
                let cause = cause.ok().and_then(|cause| cause.clone());
                Err(ThreadEnded(cause.unwrap_or_else(|| "without a cause".into())))
            }
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(lease: &Lease) -> Confined<u32> {
        Confined::spawn("counter", lease.clone(), || Ok::<_, String>(40)).unwrap()
    }

    #[tokio::test]
    async fn jobs_run_in_order_on_one_value() {
        let counter = counter(&Lease::default());
        counter.ask(|n| *n += 2).await.unwrap();
        assert_eq!(counter.ask(|n| *n).await, Ok(42));
    }

    #[tokio::test]
    async fn a_value_that_cannot_be_built_says_why() {
        let failed = Confined::<u32>::spawn("failed", Lease::default(), || Err("no such model")).unwrap();
        assert_eq!(failed.ask(|n| *n).await, Err(ThreadEnded("no such model".into())));
    }

    #[tokio::test]
    async fn a_job_that_panics_ends_the_thread_and_says_why() {
        let counter = counter(&Lease::default());
        let panicked = counter.ask(|_| -> u32 { panic!("out of {}", "memory") }).await;
        assert_eq!(panicked, Err(ThreadEnded("panic: out of memory".into())));
        assert!(counter.ask(|n| *n).await.is_err());
    }

    #[tokio::test]
    async fn a_thread_waits_for_the_one_before_it() {
        let lease = Lease::default();
        let first = counter(&lease);
        first.ask(|n| *n += 1).await.unwrap();
        let second = counter(&lease);
        let asking = second.ask(|n| *n);
        tokio::pin!(asking);
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut asking).await.is_err(), "the first still lives");
        drop(first);
        assert_eq!(asking.await, Ok(40));
    }
}
