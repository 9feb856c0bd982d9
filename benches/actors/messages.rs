//! B1 to B4: what a message costs. Ours is a supervised child behind a `Handle`, ractor's the bare actor beneath it.

use std::time::Instant;

use ractor::Actor;
use stateset_benches::{Rival, Table, measure};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::rivals::{
    Counter, DEADLINE, KameoAsk, KameoCounter, KameoTell, Message, Said, TELL, supervised, tokio_task, tokio_unbounded,
};
use kameo::actor::Spawn;

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

fn rival<'a>(name: &'a str, runtime: &'a Runtime, once: impl AsyncFn() -> f64 + 'a) -> Rival<'a> {
    (name, Box::new(move || runtime.block_on(once())))
}

/// B1: one client asks, waits for the answer, and asks again.
pub(crate) fn ask(runtime: &Runtime, Size { asks, rounds, .. }: Size) -> Table {
    let rivals = vec![
        rival("ractor", runtime, async || {
            let (actor, task) = Actor::spawn(None, Counter, ()).await.unwrap();
            let began = Instant::now();
            for _ in 0..asks {
                actor.call(Message::Ask, Some(DEADLINE)).await.unwrap().unwrap();
            }
            let cost = nanoseconds_each(began, asks);
            actor.stop(None);
            task.await.unwrap();
            cost
        }),
        rival("ours, supervised", runtime, async || {
            let (counter, tree) = supervised().await;
            let began = Instant::now();
            for _ in 0..asks {
                counter.call(Message::Ask, DEADLINE).await.unwrap();
            }
            let cost = nanoseconds_each(began, asks);
            tree.shutdown().await;
            cost
        }),
        rival("tokio channel", runtime, async || {
            let task = tokio_task(64);
            let began = Instant::now();
            for _ in 0..asks {
                let (reply, answer) = oneshot::channel();
                task.send(Said::Ask(reply)).await.ok().unwrap();
                answer.await.unwrap();
            }
            nanoseconds_each(began, asks)
        }),
        rival("kameo, bounded 64", runtime, async || {
            let actor = KameoCounter::spawn(KameoCounter(0));
            let began = Instant::now();
            for _ in 0..asks {
                actor.ask(KameoAsk).await.unwrap();
            }
            let cost = nanoseconds_each(began, asks);
            actor.kill();
            cost
        }),
    ];
    measure("B1 ask: one question at a time", "ns each", rounds, rivals)
}

/// B2: one client tells, never waiting; one question at the end sees that all has arrived.
pub(crate) fn tell(runtime: &Runtime, Size { tells, rounds, .. }: Size) -> Table {
    let rivals = vec![
        rival("ractor", runtime, async || {
            let (actor, task) = Actor::spawn(None, Counter, ()).await.unwrap();
            let began = Instant::now();
            for _ in 0..tells {
                actor.send_message(Message::Tell([0; 64])).ok().unwrap();
            }
            assert_eq!(actor.call(Message::Ask, Some(DEADLINE)).await.unwrap().unwrap(), tells);
            let cost = nanoseconds_each(began, tells);
            actor.stop(None);
            task.await.unwrap();
            cost
        }),
        rival("ours, supervised", runtime, async || {
            let (counter, tree) = supervised().await;
            let began = Instant::now();
            for _ in 0..tells {
                counter.send(Message::Tell([0; 64])).ok().unwrap();
            }
            assert_eq!(counter.call(Message::Ask, DEADLINE).await.unwrap(), tells);
            let cost = nanoseconds_each(began, tells);
            tree.shutdown().await;
            cost
        }),
        rival("tokio channel, unbounded", runtime, async || {
            let task = tokio_unbounded();
            let began = Instant::now();
            for _ in 0..tells {
                task.send(TELL).ok().unwrap();
            }
            let (reply, answer) = oneshot::channel();
            task.send(Said::Ask(reply)).ok().unwrap();
            assert_eq!(answer.await.unwrap(), tells);
            nanoseconds_each(began, tells)
        }),
        rival("kameo, unbounded", runtime, async || {
            let actor = KameoCounter::spawn_with_mailbox(KameoCounter(0), kameo::mailbox::unbounded());
            let began = Instant::now();
            for _ in 0..tells {
                actor.tell(KameoTell([0; 64])).await.unwrap();
            }
            assert_eq!(actor.ask(KameoAsk).await.unwrap(), tells);
            let cost = nanoseconds_each(began, tells);
            actor.kill();
            cost
        }),
    ];
    measure("B2 tell: as fast as one can", "ns each", rounds, rivals)
}

/// B3: several clients tell one actor.
pub(crate) fn fan_in(runtime: &Runtime, Size { tells, producers, rounds, .. }: Size) -> Table {
    let each = tells / producers;
    let rivals = vec![
        rival("ractor", runtime, async || {
            let (actor, task) = Actor::spawn(None, Counter, ()).await.unwrap();
            let began = Instant::now();
            let tellers = (0..producers).map(|_| {
                let actor = actor.clone();
                tokio::spawn(async move {
                    for _ in 0..each {
                        actor.send_message(Message::Tell([0; 64])).ok().unwrap();
                    }
                })
            });
            for teller in tellers.collect::<Vec<_>>() {
                teller.await.unwrap();
            }
            assert_eq!(actor.call(Message::Ask, Some(DEADLINE)).await.unwrap().unwrap(), each * producers);
            let cost = nanoseconds_each(began, each * producers);
            actor.stop(None);
            task.await.unwrap();
            cost
        }),
        rival("ours, supervised", runtime, async || {
            let (counter, tree) = supervised().await;
            let began = Instant::now();
            let tellers = (0..producers).map(|_| {
                let counter = counter.clone();
                tokio::spawn(async move {
                    for _ in 0..each {
                        counter.send(Message::Tell([0; 64])).ok().unwrap();
                    }
                })
            });
            for teller in tellers.collect::<Vec<_>>() {
                teller.await.unwrap();
            }
            assert_eq!(counter.call(Message::Ask, DEADLINE).await.unwrap(), each * producers);
            let cost = nanoseconds_each(began, each * producers);
            tree.shutdown().await;
            cost
        }),
        rival("kameo, unbounded", runtime, async || {
            let actor = KameoCounter::spawn_with_mailbox(KameoCounter(0), kameo::mailbox::unbounded());
            let began = Instant::now();
            let tellers = (0..producers).map(|_| {
                let actor = actor.clone();
                tokio::spawn(async move {
                    for _ in 0..each {
                        actor.tell(KameoTell([0; 64])).await.unwrap();
                    }
                })
            });
            for teller in tellers.collect::<Vec<_>>() {
                teller.await.unwrap();
            }
            assert_eq!(actor.ask(KameoAsk).await.unwrap(), each * producers);
            let cost = nanoseconds_each(began, each * producers);
            actor.kill();
            cost
        }),
    ];
    measure("B3 fan-in: eight tell one", "ns each", rounds, rivals)
}

/// B4: one client tells many actors, one after the other.
pub(crate) fn fan_out(runtime: &Runtime, Size { fan_out, tells, rounds, .. }: Size) -> Table {
    let each = tells / fan_out;
    let rivals = vec![
        rival("ractor", runtime, async || {
            let mut actors = Vec::new();
            for _ in 0..fan_out {
                actors.push(Actor::spawn(None, Counter, ()).await.unwrap());
            }
            let began = Instant::now();
            for _ in 0..each {
                for (actor, _) in &actors {
                    actor.send_message(Message::Tell([0; 64])).ok().unwrap();
                }
            }
            for (actor, _) in &actors {
                assert_eq!(actor.call(Message::Ask, Some(DEADLINE)).await.unwrap().unwrap(), each);
            }
            let cost = nanoseconds_each(began, each * fan_out);
            for (actor, task) in actors {
                actor.stop(None);
                task.await.unwrap();
            }
            cost
        }),
        rival("ours, supervised", runtime, async || {
            let (handles, tree) = crate::lives::many(fan_out).await;
            let began = Instant::now();
            for _ in 0..each {
                for handle in &handles {
                    handle.send(Message::Tell([0; 64])).ok().unwrap();
                }
            }
            for handle in &handles {
                assert_eq!(handle.call(Message::Ask, DEADLINE).await.unwrap(), each);
            }
            let cost = nanoseconds_each(began, each * fan_out);
            tree.shutdown().await;
            cost
        }),
        rival("kameo, unbounded", runtime, async || {
            let actors: Vec<_> = (0..fan_out)
                .map(|_| KameoCounter::spawn_with_mailbox(KameoCounter(0), kameo::mailbox::unbounded()))
                .collect();
            let began = Instant::now();
            for _ in 0..each {
                for actor in &actors {
                    actor.tell(KameoTell([0; 64])).await.unwrap();
                }
            }
            for actor in &actors {
                assert_eq!(actor.ask(KameoAsk).await.unwrap(), each);
            }
            let cost = nanoseconds_each(began, each * fan_out);
            actors.iter().for_each(|actor| actor.kill());
            cost
        }),
    ];
    measure("B4 fan-out: one tells a thousand", "ns each", rounds, rivals)
}
