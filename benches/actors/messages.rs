//! B1 to B4: what a message costs. Ours is a supervised child behind a `Handle`, ractor's the bare actor beneath it.

use std::future::Future;
use std::time::Instant;

use stateset_benches::{Rival, Table, measure};
use tokio::runtime::Runtime;

use crate::rivals::{Channel, Client, Kameo, Ours, Ractor};

/// How much is measured in a round.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) asks: u64,
    pub(crate) tells: u64,
    pub(crate) producers: u64,
    pub(crate) fan_out: u64,
    pub(crate) rounds: usize,
}

fn nanoseconds_each(began: Instant, count: u64) -> f64 {
    began.elapsed().as_nanos() as f64 / count as f64
}

/// The client is a task like any other: on a thread of its own it would mostly be woken up.
fn rival<'a, C: Client, F>(runtime: &'a Runtime, once: impl Fn() -> F + 'a) -> Rival<'a>
where
    F: Future<Output = f64> + Send + 'static,
{
    (C::NAME, Box::new(move || runtime.block_on(runtime.spawn(once())).unwrap()))
}

/// All of them, each doing what `$once` does for its client.
macro_rules! rivals {
    ($runtime:expr, $once:ident($($argument:expr),*)) => {
        vec![
            rival::<Ractor, _>($runtime, move || $once::<Ractor>($($argument),*)),
            rival::<Ours, _>($runtime, move || $once::<Ours>($($argument),*)),
            rival::<Channel, _>($runtime, move || $once::<Channel>($($argument),*)),
            rival::<Kameo, _>($runtime, move || $once::<Kameo>($($argument),*)),
        ]
    };
}

/// B1: one client asks, waits for the answer, and asks again.
pub(crate) fn ask(runtime: &Runtime, Size { asks, rounds, .. }: Size) -> Table {
    measure("B1 ask: one question at a time", "ns each", rounds, rivals!(runtime, asking(asks)))
}

async fn asking<C: Client>(asks: u64) -> f64 {
    let (counters, life) = C::begin(1).await;
    let began = Instant::now();
    for _ in 0..asks {
        counters[0].ask().await;
    }
    let cost = nanoseconds_each(began, asks);
    C::end(counters, life).await;
    cost
}

/// B2: one client tells, never waiting; one question at the end sees that all has arrived.
pub(crate) fn tell(runtime: &Runtime, Size { tells, rounds, .. }: Size) -> Table {
    measure("B2 tell: as fast as one can", "ns each", rounds, rivals!(runtime, telling(1, 1, tells)))
}

/// B3: several clients tell one actor.
pub(crate) fn fan_in(runtime: &Runtime, Size { tells, producers, rounds, .. }: Size) -> Table {
    let each = tells / producers;
    measure("B3 fan-in: eight tell one", "ns each", rounds, rivals!(runtime, telling(producers, 1, each)))
}

/// B4: one client tells many actors, one after the other.
pub(crate) fn fan_out(runtime: &Runtime, Size { fan_out, tells, rounds, .. }: Size) -> Table {
    let each = tells / fan_out;
    measure("B4 fan-out: one tells a thousand", "ns each", rounds, rivals!(runtime, telling(1, fan_out, each)))
}

/// Each of so many tasks tells each of so many counters so often.
async fn telling<C: Client>(tasks: u64, counters: u64, each: u64) -> f64 {
    let (counters, life) = C::begin(counters).await;
    let began = Instant::now();
    let tellers = (0..tasks).map(|_| {
        let counters = counters.clone();
        tokio::spawn(async move {
            for _ in 0..each {
                for counter in &counters {
                    counter.tell().await;
                }
            }
        })
    });
    for teller in tellers.collect::<Vec<_>>() {
        teller.await.unwrap();
    }
    for counter in &counters {
        assert_eq!(counter.ask().await, tasks * each);
    }
    let cost = nanoseconds_each(began, tasks * each * counters.len() as u64);
    C::end(counters, life).await;
    cost
}
