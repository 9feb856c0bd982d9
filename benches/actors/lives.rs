//! B5 to B7: what a life costs: to begin it, to end it, and to begin it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kameo::actor::Spawn;
use kameo::error::Infallible;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use stateset_benches::{Rival, Row, Table, measure, median, percentile};
use stateset_domain::Stream;
use stateset_supervisors::{Budgets, ChildSpec, Handle, Restart, StartContext, Strategy, SupervisorSpec, Tree};
use stateset_telemetry::{Memory, Nowhere};
use tokio::runtime::Runtime;

use crate::rivals::{Client, Counter, DEADLINE, Kameo, KameoAsk, Message, Ours, patient};

/// B5: actors begin, each awaited.
pub(crate) fn spawn(runtime: &Runtime, count: u64, rounds: usize) -> Table {
    let title = "B5 spawn: one after the other, each awaited";
    measure(title, "actors/s", rounds, lives(runtime, count, |beginning, _| beginning))
}

/// B5: and end, all of them together; ours one after the other, as they began.
pub(crate) fn stop(runtime: &Runtime, count: u64, rounds: usize) -> Table {
    measure("B5 stop: until all have ended", "actors/s", rounds, lives(runtime, count, |_, ending| ending))
}

fn lives(runtime: &Runtime, count: u64, which: fn(f64, f64) -> f64) -> Vec<Rival<'_>> {
    vec![
        ("ractor, linked", Box::new(move || runtime.block_on(runtime.spawn(linked(count, which))).unwrap())),
        (Ours::NAME, Box::new(move || runtime.block_on(runtime.spawn(living::<Ours>(count, which))).unwrap())),
        (Kameo::NAME, Box::new(move || runtime.block_on(runtime.spawn(living::<Kameo>(count, which))).unwrap())),
    ]
}

/// Rates at which actors begin and end; which of the two is asked for.
async fn living<C: Client>(count: u64, which: fn(f64, f64) -> f64) -> f64 {
    let rate = |began: Instant| count as f64 / began.elapsed().as_secs_f64();
    let began = Instant::now();
    let (clients, life) = C::begin(count).await;
    let beginning = rate(began);
    let began = Instant::now();
    C::end(clients, life).await;
    which(beginning, rate(began))
}

/// As children of one actor, which are then stopped together.
async fn linked(count: u64, which: fn(f64, f64) -> f64) -> f64 {
    let rate = |began: Instant| count as f64 / began.elapsed().as_secs_f64();
    let (parent, task) = Actor::spawn(None, Parent::default(), None).await.unwrap();
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..count {
        tasks.push(Actor::spawn_linked(None, Counter, (), parent.get_cell()).await.unwrap().1);
    }
    let beginning = rate(began);
    let began = Instant::now();
    parent.stop_children(None);
    for task in tasks {
        task.await.unwrap();
    }
    let ending = rate(began);
    parent.stop(None);
    task.await.unwrap();
    which(beginning, ending)
}

/// A supervisor written by hand: it restarts its child at once and knows no rules.
#[derive(Default)]
struct Parent(Arc<tokio::sync::watch::Sender<Option<ActorRef<Message>>>>);

impl Actor for Parent {
    type Msg = ();
    type State = ();
    type Arguments = Option<()>;

    async fn pre_start(&self, me: ActorRef<()>, child: Option<()>) -> Result<(), ActorProcessingErr> {
        if child.is_some() {
            let (child, _) = Actor::spawn_linked(None, Counter, (), me.get_cell()).await?;
            self.0.send_replace(Some(child));
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<()>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(..) = event {
            let (child, _) = Actor::spawn_linked(None, Counter, (), me.get_cell()).await?;
            self.0.send_replace(Some(child));
        }
        Ok(())
    }
}

/// B6: from the failing message to the next incarnation's first answer, without a wait in between; on the runtime that all else is
/// measured on, and on a single thread, where nobody has to be woken up.
pub(crate) fn restart(runtime: &Runtime, count: usize, rounds: usize) -> Table {
    let alone = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let names = ["ractor, by hand", "ours", "kameo", "ractor, one thread", "ours, one thread"];
    let mut samples: [(&str, Vec<f64>); 5] = names.map(|name| (name, Vec::new()));
    for _ in 0..rounds {
        samples[0].1.extend(runtime.block_on(runtime.spawn(restart_by_hand(count))).unwrap());
        samples[1].1.extend(runtime.block_on(runtime.spawn(restart_ours(count))).unwrap());
        samples[2].1.extend(runtime.block_on(runtime.spawn(restart_kameo(count))).unwrap());
        samples[3].1.extend(alone.block_on(restart_by_hand(count)));
        samples[4].1.extend(alone.block_on(restart_ours(count)));
    }
    let base = median(samples[0].1.clone());
    let row = |(name, samples): (&str, Vec<f64>)| Row {
        name: name.to_owned(),
        median: median(samples.clone()),
        min: percentile(samples.clone(), 0.01),
        max: percentile(samples.clone(), 0.99),
        ratio: median(samples) / base,
    };
    Table {
        title: "B6 restart: failure to the next answer, p50 (p1 to p99)".into(),
        unit: "microseconds".into(),
        rows: samples.into_iter().map(row).collect(),
    }
}

fn microseconds(began: Instant) -> f64 {
    began.elapsed().as_nanos() as f64 / 1e3
}

async fn restart_by_hand(count: usize) -> Vec<f64> {
    let parent = Parent::default();
    let mut current = parent.0.subscribe();
    let (parent, _) = Actor::spawn(None, parent, Some(())).await.unwrap();
    let mut child = current.borrow_and_update().clone().unwrap();
    let mut samples = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        child.send_message(Message::Fail).ok().unwrap();
        current.changed().await.unwrap();
        child = current.borrow_and_update().clone().unwrap();
        child.call(Message::Ask, Some(DEADLINE)).await.unwrap().unwrap();
        samples.push(microseconds(began));
    }
    parent.stop(None);
    samples
}

async fn restart_ours(count: usize) -> Vec<f64> {
    let child = Handle::new("counter");
    let (sender, mut current) = tokio::sync::watch::channel(0);
    let (published, sender) = (child.clone(), Arc::new(sender));
    let start = move |context: StartContext| {
        let (handle, sender, which) = (published.clone(), sender.clone(), context.incarnation());
        async move {
            let (actor, incarnation) = context.spawn(Counter, ()).await?;
            handle.publish(actor);
            sender.send_replace(which);
            Ok(incarnation)
        }
    };
    let spec = ChildSpec::new("counter", Restart::Permanent, start).reached_by(&child);
    let tree = Tree::start(patient("root", vec![spec]), Arc::new(Memory::default()), Stream::new(1)).await.unwrap();
    current.mark_unchanged();
    let mut samples = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        child.send(Message::Fail).ok().unwrap();
        current.changed().await.unwrap();
        child.call(Message::Ask, DEADLINE).await.unwrap();
        samples.push(microseconds(began));
    }
    tree.shutdown().await;
    samples
}

#[derive(kameo::Actor)]
struct KameoParent;

#[derive(Clone)]
struct Fragile(Arc<AtomicU64>);

struct Fail;

impl kameo::Actor for Fragile {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(this: Self, _: kameo::actor::ActorRef<Self>) -> Result<Self, Infallible> {
        this.0.fetch_add(1, Ordering::SeqCst);
        Ok(this)
    }
}

impl kameo::message::Message<Fail> for Fragile {
    type Reply = ();

    async fn handle(&mut self, _: Fail, _: &mut kameo::message::Context<Self, ()>) {
        panic!("told to fail")
    }
}

impl kameo::message::Message<KameoAsk> for Fragile {
    type Reply = u64;

    async fn handle(&mut self, _: KameoAsk, _: &mut kameo::message::Context<Self, u64>) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// kameo restarts behind the same address, and fails by panicking, which costs an unwinding that the others are spared.
async fn restart_kameo(count: usize) -> Vec<f64> {
    let parent = KameoParent::spawn(KameoParent);
    let started = Arc::new(AtomicU64::new(0));
    let child = Fragile::supervise(&parent, Fragile(started.clone()))
        .restart_limit(u32::MAX, Duration::from_secs(1))
        .spawn()
        .await;
    let mut samples = Vec::with_capacity(count);
    for _ in 0..count {
        let before = started.load(Ordering::SeqCst);
        let began = Instant::now();
        child.tell(Fail).await.unwrap();
        while started.load(Ordering::SeqCst) == before {
            tokio::task::yield_now().await;
        }
        while child.ask(KameoAsk).await.is_err() {}
        samples.push(microseconds(began));
    }
    parent.kill();
    samples
}

/// An actor that takes a millisecond to stop.
struct Slow;

impl Actor for Slow {
    type Msg = Message;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Message>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Message>, message: Message, (): &mut ()) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Tell(_) => {}
            Message::Ask(reply) => drop(reply.send(0)),
            Message::Fail => return Err("told to fail".into()),
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Message>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(())
    }
}

/// B7: the first of so many children fails, and all of them are stopped (a millisecond each) and started again, in order.
pub(crate) fn recover(runtime: &Runtime, rounds: usize) -> Table {
    let rivals = [10u64, 100].map(|count| {
        let name: &'static str = if count == 10 { "ours, 10 children" } else { "ours, 100 children" };
        let once: Box<dyn FnMut() -> f64> = Box::new(move || runtime.block_on(recover_rest(count)));
        (name, once)
    });
    measure("B7 recovery: rest_for_one, each child taking 1 ms to stop", "ms", rounds, rivals.into())
}

async fn recover_rest(count: u64) -> f64 {
    let handles: Vec<Handle<Message>> = (0..count).map(|n| Handle::new(&format!("slow-{n}"))).collect();
    let spec = |handle| ChildSpec::actor(handle, Restart::Permanent, |_| (Slow, ())).with_budgets(Budgets::default());
    let specs = handles.iter().map(spec).collect();
    let root = SupervisorSpec { strategy: Strategy::RestForOne, ..patient("root", specs) };
    let tree = Tree::start(root, Arc::new(Nowhere), Stream::new(1)).await.unwrap();
    let last = &handles[handles.len() - 1];
    let began = Instant::now();
    handles[0].send(Message::Fail).ok().unwrap();
    while last.is_up() {
        tokio::task::yield_now().await;
    }
    for handle in &handles {
        handle.wait_up(DEADLINE).await.unwrap();
    }
    last.call(Message::Ask, DEADLINE).await.unwrap();
    let took = began.elapsed().as_secs_f64() * 1e3;
    tree.shutdown().await;
    took
}
