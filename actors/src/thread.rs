//! Dedicated OS threads for work that computes or blocks, so that it never holds a worker of the async runtime.

use std::any::Any;
use std::fmt::{self, Display};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam::channel::{Sender, TrySendError, bounded};
use stateset_domain::Fence;
use stateset_telemetry::{Event, EventSink};
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

/// Keeps the threads of successive incarnations of one actor apart. An actor that is killed cannot stop its thread, only stop feeding it;
/// the next incarnation's thread waits here until it has ended. If it does not end in time, it is a zombie: the lease moves on to the
/// next epoch, and the zombie finds its [`Fence`] closed before whatever it would commit.
#[derive(Debug, Clone)]
pub struct Lease(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// How long a thread may take to end once its successor is there.
    patience: Duration,
    /// The epoch that may write; fences share it.
    epoch: Arc<AtomicU64>,
    holding: Mutex<Holding>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct Holding {
    /// The epoch of the thread that holds it, if one does.
    holder: Option<u64>,
    /// What it is at, if it is at anything, and since when.
    busy: Option<Instant>,
    last: u64,
    zombies: u64,
    reporting: Option<(&'static str, Arc<Sink>)>,
}

/// A sink that says nothing of itself.
struct Sink(Arc<dyn EventSink>);

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}

/// What a dedicated thread is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThreadReading {
    /// Which of the actor's threads, from 1; 0 before the first.
    pub epoch: u64,
    /// How long the work in hand has been going on, if there is some.
    pub busy: Option<Duration>,
    /// Threads that did not end when they should have, and were left behind.
    pub zombies: u64,
}

impl Default for Lease {
    fn default() -> Self {
        Self::patient(Duration::from_secs(30))
    }
}

impl Lease {
    /// A lease whose holder may take so long to end once its successor is there.
    #[must_use]
    pub fn patient(patience: Duration) -> Self {
        let (epoch, holding, released) = (Arc::default(), Mutex::default(), Condvar::new());
        Self(Arc::new(Shared { patience, epoch, holding, released }))
    }

    /// What its thread is doing.
    #[must_use]
    pub fn read(&self) -> ThreadReading {
        let holding = self.holding();
        let busy = holding.busy.map(|since| since.elapsed());
        ThreadReading { epoch: holding.holder.unwrap_or(holding.last), busy, zombies: holding.zombies }
    }

    /// Reports zombies, under the name of `thread`.
    pub(crate) fn report(&self, thread: &'static str, events: Arc<dyn EventSink>) {
        self.holding().reporting = Some((thread, Arc::new(Sink(events))));
    }

    /// Whether it is the same one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn holding(&self) -> MutexGuard<'_, Holding> {
        self.0.holding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is free, or its holder has had its time.
    fn acquire(&self) -> Held {
        let mut holding = self.holding();
        let mut zombie = None;
        while let Some(holder) = holding.holder {
            let same = |holding: &mut Holding| holding.holder == Some(holder);
            let waited = self.0.released.wait_timeout_while(holding, self.0.patience, same);
            let (again, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
            holding = again;
            if timed_out.timed_out() && holding.holder == Some(holder) {
                holding.zombies += 1;
                zombie = Some(holder);
                break;
            }
        }
        holding.last += 1;
        let epoch = holding.last;
        (holding.holder, holding.busy) = (Some(epoch), None);
        self.0.epoch.store(epoch, SeqCst);
        let reporting = holding.reporting.clone();
        drop(holding);
        if let (Some(epoch), Some((thread, sink))) = (zombie, reporting) {
            sink.0.emit(Event::ThreadFenced { thread: thread.into(), epoch });
        }
        Held { lease: self.clone(), fence: Fence::new(Arc::clone(&self.0.epoch), epoch) }
    }
}

/// A thread's hold on its lease.
pub(crate) struct Held {
    lease: Lease,
    fence: Fence,
}

impl Held {
    pub(crate) fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Whether it has not been replaced.
    pub(crate) fn holds(&self) -> bool {
        self.fence.holds()
    }

    /// Does `work`, which is what the thread is seen to be busy with. `None` if it has been replaced: before, and then nothing is done,
    /// or meanwhile, and then whatever came of it is dropped.
    pub(crate) fn work<R>(&self, work: impl FnOnce() -> R) -> Option<R> {
        self.mark(Some(Instant::now()))?;
        let result = work();
        self.mark(None)?;
        Some(result)
    }

    fn mark(&self, busy: Option<Instant>) -> Option<()> {
        let mut holding = self.lease.holding();
        (holding.holder == Some(self.fence.epoch())).then(|| holding.busy = busy)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holding = self.lease.holding();
        if holding.holder == Some(self.fence.epoch()) {
            (holding.holder, holding.busy) = (None, None);
            self.lease.0.released.notify_all();
        }
    }
}

/// A dedicated thread is gone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("its thread ended: {0}")]
pub struct ThreadEnded(pub(crate) String);

/// Runs `body` on a thread of its own, once the lease is free. `ended` is told why, unless it ended well.
pub(crate) fn spawn<E: Display>(
    name: &str,
    lease: Lease,
    body: impl FnOnce(&Held) -> Result<(), E> + Send + 'static,
    ended: impl FnOnce(String) + Send + 'static,
) -> io::Result<()> {
    let run = move || {
        let held = lease.acquire();
        match catch_unwind(AssertUnwindSafe(|| body(&held))) {
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
    /// Builds the value there, with the right to write that it has. If that fails, the first job says so.
    pub(crate) fn spawn<E: Display + 'static>(
        name: &str,
        lease: Lease,
        build: impl FnOnce(Fence) -> Result<T, E> + Send + 'static,
    ) -> io::Result<Self> {
        let (jobs, queue) = bounded::<Job<T>>(1);
        let (told, fate) = watch::channel(None);
        let body = move |held: &Held| -> Result<(), E> {
            let Some(built) = held.work(|| build(held.fence().clone())) else { return Ok(()) };
            let mut value = built?;
            for job in &queue {
                // Replaced: what waits in the queue is for nobody.
                if held.work(|| job(&mut value)).is_none() {
                    break;
                }
            }
            Ok(())
        };
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
    use stateset_telemetry::Memory;

    use super::*;

    fn counter(lease: &Lease) -> Confined<u32> {
        Confined::spawn("counter", lease.clone(), |_| Ok::<_, String>(40)).unwrap()
    }

    #[tokio::test]
    async fn jobs_run_in_order_on_one_value() {
        let counter = counter(&Lease::default());
        counter.ask(|n| *n += 2).await.unwrap();
        assert_eq!(counter.ask(|n| *n).await, Ok(42));
    }

    #[tokio::test]
    async fn a_value_that_cannot_be_built_says_why() {
        let failed = Confined::<u32>::spawn("failed", Lease::default(), |_| Err("no such model")).unwrap();
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

    #[tokio::test]
    async fn a_thread_that_does_not_end_is_left_behind_and_commits_nothing() {
        let (lease, events) = (Lease::patient(Duration::from_millis(20)), Arc::new(Memory::default()));
        lease.report("counter", events.clone());
        let (release, hung) = bounded::<()>(0);
        let (told, fences) = bounded(1);
        let zombie = Confined::spawn("counter", lease.clone(), Ok::<_, String>).unwrap();
        let job = zombie.ask(move |fence| {
            told.send(fence.clone()).unwrap();
            let _ = hung.recv();
            fence.holds()
        });
        assert!(tokio::time::timeout(Duration::from_millis(5), job).await.is_err(), "it hangs");
        let fence = fences.recv().unwrap();
        assert!(fence.holds() && lease.read().busy.is_some());
        let heir = counter(&lease);
        assert_eq!(heir.ask(|n| *n).await, Ok(40), "it does not wait for ever");
        assert!(!fence.holds());
        assert_eq!((lease.read().epoch, lease.read().zombies), (2, 1));
        drop(release);
        assert_eq!(heir.ask(|n| *n).await, Ok(40), "a zombie that wakes takes nothing back");
        assert_eq!(events.events(), [Event::ThreadFenced { thread: "counter".into(), epoch: 1 }]);
    }

    #[tokio::test]
    async fn what_a_zombie_comes_to_is_dropped() {
        let lease = Lease::patient(Duration::ZERO);
        let held = lease.acquire();
        let result = held.work(|| drop(lease.acquire()));
        assert_eq!(result, None);
        assert_eq!(held.work(|| unreachable!("a zombie does nothing more")), None::<()>);
    }
}
