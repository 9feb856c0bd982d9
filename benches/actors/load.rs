//! B8 and B9: too much work for one actor, and what a circuit breaker costs while all is well.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use stateset_benches::{Rival, Table, measure};
use stateset_domain::Stream;
use stateset_resilience::{BreakerSettings, CircuitBreaker, Window};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that a message of B8 holds on to.
const PAYLOAD: usize = 16 * 1024;

/// Takes about as long over a message as its producer takes over two.
struct Worker;

struct Job {
    payload: Vec<u8>,
    permit: Option<OwnedSemaphorePermit>,
    done: Arc<AtomicU64>,
}

impl Actor for Worker {
    type Msg = Job;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Job>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Job>, job: Job, (): &mut ()) -> Result<(), ActorProcessingErr> {
        work(&job.payload, 8);
        job.done.fetch_add(1, Ordering::Relaxed);
        drop(job.permit);
        Ok(())
    }
}

fn work(payload: &[u8], times: u64) {
    for time in 0..times {
        std::hint::black_box(
            payload.iter().fold(time, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte))),
        );
    }
}

/// B8: a producer twice as fast as its consumer, for so many jobs. The value is what waited at the most: without a bound it would grow
/// for as long as there are jobs, with permits the producer waits instead.
pub(crate) fn overload(runtime: &Runtime, jobs: u64) -> Table {
    let once = |permits| move || runtime.block_on(runtime.spawn(flood(jobs, permits))).unwrap();
    let rivals: Vec<Rival<'_>> =
        vec![("unbounded mailbox", Box::new(once(None))), ("64 permits (ours)", Box::new(once(Some(64))))];
    measure("B8 overload: waiting messages of 16 KiB, at the most", "MiB", 3, rivals)
}

async fn flood(jobs: u64, permits: Option<usize>) -> f64 {
    let (worker, task) = Actor::spawn(None, Worker, ()).await.unwrap();
    let done = Arc::new(AtomicU64::new(0));
    let permits = permits.map(|permits| Arc::new(Semaphore::new(permits)));
    let mut most = 0;
    for sent in 0..jobs {
        let permit = match &permits {
            Some(permits) => Some(permits.clone().acquire_owned().await.unwrap()),
            None => None,
        };
        let payload = vec![1; PAYLOAD];
        work(&payload, 4);
        worker.send_message(Job { payload, permit, done: done.clone() }).ok().unwrap();
        most = most.max(sent + 1 - done.load(Ordering::Relaxed));
    }
    worker.drain().unwrap();
    task.await.unwrap();
    assert_eq!(done.load(Ordering::Relaxed), jobs, "nothing is lost");
    most as f64 * PAYLOAD as f64 / f64::from(1u32 << 20)
}

/// B9: a call is admitted and its success recorded, by two threads at once, the breaker being closed; beside a mutex that is taken
/// as often and guards nothing.
pub(crate) fn breaker(calls: u64, rounds: usize) -> Table {
    let settings = |window| BreakerSettings {
        window,
        min_calls: 100,
        failure_rate: 0.5,
        slow_call: Duration::from_secs(60),
        slow_rate: 1.0,
        open: Duration::from_secs(1),
        open_max: Duration::from_secs(60),
        probes: 3,
    };
    let guarded = |window| {
        let breaker = CircuitBreaker::new(settings(window), Stream::new(1));
        let began = Instant::now();
        two_threads(calls, move || {
            let call = breaker.admit(began.elapsed()).call.expect("it is closed");
            let _ = call.succeeded(began.elapsed());
        })
    };
    let time = Window::Time { span: Duration::from_secs(10), buckets: 10 };
    let mutex = || {
        let (count, began) = (Arc::new(Mutex::new(0u64)), Instant::now());
        two_threads(calls, move || {
            for _ in 0..2 {
                *count.lock().unwrap() += u64::from(began.elapsed().subsec_nanos());
            }
        })
    };
    let rivals: Vec<Rival<'_>> = vec![
        ("two locks, two clock reads", Box::new(mutex)),
        ("breaker, last 100 calls", Box::new(|| guarded(Window::Calls(100)))),
        ("breaker, last 10 s", Box::new(move || guarded(time))),
    ];
    measure("B9 breaker: admit and record, two threads", "ns each", rounds, rivals)
}

fn two_threads(calls: u64, call: impl Fn() + Send + Clone + 'static) -> f64 {
    let began = Instant::now();
    let threads = [(); 2].map(|()| {
        let call = call.clone();
        std::thread::spawn(move || (0..calls / 2).for_each(|_| call()))
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    began.elapsed().as_nanos() as f64 / calls as f64
}
