//! How a dependency is called that is not ours and may be down.
//!
//! A call goes through the bulkhead (a place among the calls in flight), the breaker, and a deadline; what fails is tried again, after
//! a wait, on a budget. All four are decided by `stateset-resilience`; what is here waits.
//!
//! | The dependency                  | What a caller sees                                                                           |
//! |---------------------------------|----------------------------------------------------------------------------------------------|
//! | is down, for however long       | nothing: the call waits while the breaker is open, and goes on by itself                     |
//! | fails this call, and answers others | a failure, once it has failed so `attempts` times                                        |
//! | answers nonsense                | a failure, after `attempts` answers                                                           |
//! | refuses                         | the refusal, at once                                                                          |
//!
//! So a failure that may pass is held against a call only if somebody was answered since the call failed last; while nobody is, it is
//! the dependency that fails. If nobody else asks, nobody is answered either: then the call's place is used in between for a *canary*,
//! something that was answered before.

use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stateset_domain::{BreakerState, Dependency, DependencyReading, Stream};
use stateset_resilience::{
    Admission, BreakerSettings, Call, CallFailure, CircuitBreaker, Refused, Retry, RetryBudget, Transition,
};
use stateset_telemetry::Event;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout};

use crate::protocol::Instruments;

/// How carefully a dependency is called.
#[derive(Debug, Clone)]
pub struct GuardSettings {
    /// Calls in flight at once. At least 1.
    pub concurrency: usize,
    /// How long an answer may take.
    pub deadline: Duration,
    /// When it is not called at all.
    pub breaker: BreakerSettings,
    /// How often a call is tried, and when again.
    pub retry: Retry,
    /// How much of a retry each call earns.
    pub retry_share: f64,
}

/// Retries a second that a dependency bears, however few calls it is asked for; and how many of them may be saved up.
const RETRIES_PER_SECOND: f64 = 1.0;
const SAVED_RETRIES: u32 = 10;

/// Calls a dependency. One for all incarnations of whoever calls, so that a restart does not forget an outage.
pub struct Guard {
    name: String,
    settings: GuardSettings,
    breaker: CircuitBreaker,
    bulkhead: Semaphore,
    budget: Mutex<RetryBudget>,
    random: Mutex<Stream>,
    /// Told whenever the breaker changes its state.
    changed: Notify,
    changes: AtomicU64,
    /// Calls that were answered, with whatever.
    answers: AtomicU64,
    waiting: AtomicUsize,
    in_flight: AtomicUsize,
    born: Instant,
    instruments: Instruments,
}

impl Guard {
    /// Guards the dependency called `name`. `random` varies its waits.
    #[must_use]
    pub fn new(name: &str, settings: GuardSettings, random: Stream, instruments: Instruments) -> Self {
        Self {
            name: name.to_owned(),
            breaker: CircuitBreaker::new(settings.breaker, random.fork(1)),
            bulkhead: Semaphore::new(settings.concurrency),
            budget: Mutex::new(RetryBudget::new(settings.retry_share, RETRIES_PER_SECOND, SAVED_RETRIES)),
            random: Mutex::new(random.fork(2)),
            changed: Notify::new(),
            changes: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            born: Instant::now(),
            instruments,
            settings,
        }
    }

    /// What it reports through.
    pub(crate) fn instruments(&self) -> &Instruments {
        &self.instruments
    }

    /// Asks until there is an answer, or it is certain that there will be none. `canary` asks something that was answered before, if
    /// anything was. Dropping the future ends it at any point, and frees whatever it held.
    ///
    /// # Errors
    /// The last [`CallFailure`].
    pub async fn call<T, F, C>(&self, ask: impl Fn() -> F, canary: impl Fn() -> Option<C>) -> Result<T, CallFailure>
    where
        F: Future<Output = Result<T, CallFailure>>,
        C: Future<Output = Result<(), CallFailure>>,
    {
        lock(&self.budget).earn();
        let (mut strikes, mut answers) = (0, None);
        for attempt in 1.. {
            let failure = match self.attempt(ask()).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let now = self.answers.load(Relaxed);
            let others_were_answered = answers.replace(now).is_none_or(|before| before < now);
            let held = match &failure {
                CallFailure::Refused(_) => return Err(failure),
                CallFailure::Garbled(_) => true,
                CallFailure::Transient { .. } => others_were_answered,
            };
            strikes += u32::from(held);
            if self.settings.retry.exhausted(strikes) {
                return Err(failure);
            }
            self.pause(attempt, &failure).await;
            if !held && let Some(known) = canary() {
                // Whether it was answered is counted where everybody's answers are.
                let _ = self.attempt(known).await;
            }
        }
        unreachable!("there is always another attempt")
    }

    /// One attempt, as soon as it may be made.
    async fn attempt<T>(&self, asking: impl Future<Output = Result<T, CallFailure>>) -> Result<T, CallFailure> {
        let (_place, call) = self.enter().await;
        let _flying = Counted::up(&self.in_flight);
        self.instruments.vitals.dependency_called();
        let deadline = self.settings.deadline;
        let late = || CallFailure::transient(format!("{} did not answer within {deadline:?}", self.name));
        let outcome = timeout(deadline, asking).await.unwrap_or_else(|_| Err(late()));
        match &outcome {
            Err(failure @ CallFailure::Transient { .. }) => {
                let opened = call.failed(self.now());
                self.note(opened, Some(failure));
            }
            Ok(_) | Err(CallFailure::Garbled(_) | CallFailure::Refused(_)) => {
                self.answers.fetch_add(1, Relaxed);
                let closed = call.succeeded(self.now());
                self.note(closed, None);
            }
        }
        outcome
    }

    /// A place in the bulkhead and the breaker's consent, however long that takes.
    async fn enter(&self) -> (SemaphorePermit<'_>, Call) {
        let _waiting = Counted::up(&self.waiting);
        loop {
            // Before the breaker is asked, so that no change is missed in between.
            let changed = self.changed.notified();
            let place = self.bulkhead.acquire().await.expect("the bulkhead is never closed");
            let Admission { call, transition } = self.breaker.admit(self.now());
            self.note(transition, None);
            match call {
                Ok(call) => return (place, call),
                Err(Refused { wait }) => {
                    drop(place);
                    tokio::select! { () = changed => {}, () = sleep(wait) => {} }
                }
            }
        }
    }

    /// Waits before another attempt, and for the budget to allow it. Once the breaker has taken matters in hand there is nothing to
    /// budget: it lets through what the dependency bears.
    async fn pause(&self, attempt: u32, failure: &CallFailure) {
        let _waiting = Counted::up(&self.waiting);
        let changes = self.changes.load(Relaxed);
        let wait = self.settings.retry.wait(attempt, failure.retry_after(), &mut lock(&self.random));
        sleep(wait).await;
        loop {
            let changed = self.changed.notified();
            if self.changes.load(Relaxed) != changes {
                return;
            }
            let Err(wait) = lock(&self.budget).spend(self.now()) else { return };
            tokio::select! { () = changed => {}, () = sleep(wait) => {} }
        }
    }

    /// Records a change of state and wakes whoever waits for one.
    fn note(&self, transition: Option<Transition>, failure: Option<&CallFailure>) {
        let Some(Transition { from, to, tally, reason, open_for }) = transition else { return };
        let last = failure.map(|failure| format!(", the last: {failure}")).unwrap_or_default();
        self.changes.fetch_add(1, Relaxed);
        self.instruments.emit(Event::BreakerChanged {
            dependency: self.name.clone(),
            from,
            to,
            failure_rate: tally.failure_rate(),
            slow_rate: tally.slow_rate(),
            open_seconds: open_for.unwrap_or_default().as_secs_f64(),
            reason: format!("{reason}{last}"),
        });
        self.changed.notify_waiters();
    }

    fn now(&self) -> Duration {
        self.born.elapsed()
    }
}

impl Dependency for Guard {
    fn read(&self) -> DependencyReading {
        let (state, tally, left) = self.breaker.look(self.now());
        DependencyReading {
            dependency: self.name.clone(),
            state,
            opens_in_seconds: if state == BreakerState::Open { left.as_secs_f64() } else { 0.0 },
            calls: tally.calls,
            failure_rate: tally.failure_rate(),
            slow_rate: tally.slow_rate(),
            in_flight: self.in_flight.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
        }
    }
}

/// One more, for as long as this lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn up(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
