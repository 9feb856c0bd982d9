//! The same small actor four times: it counts what it is told, and answers with its count.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kameo::actor::Spawn;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use stateset_domain::Stream;
use stateset_supervisors::{
    Backoff, ChildSpec, Handle, Intensity, Restart, Strategy, SupervisorHandle, SupervisorSpec, Tree,
};
use stateset_telemetry::Nowhere;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What is told. It is 64 bytes, so that a message is not just a pointer.
pub(crate) const PAYLOAD: [u8; 64] = [0; 64];

/// How a counter is talked to.
pub(crate) trait Client: Clone + Send + Sync + 'static {
    /// The rival, as tables call it.
    const NAME: &'static str;
    /// What keeps counters going, and ends them.
    type Life: Send;

    /// So many counters.
    fn begin(count: u64) -> impl Future<Output = (Vec<Self>, Self::Life)> + Send;
    fn tell(&self) -> impl Future<Output = ()> + Send;
    fn ask(&self) -> impl Future<Output = u64> + Send;
    /// Ends them, and waits until they have.
    fn end(clients: Vec<Self>, life: Self::Life) -> impl Future<Output = ()> + Send;
}

/// For ractor, and supervised for us.
#[derive(Clone, Copy)]
pub(crate) struct Counter;

pub(crate) enum Message {
    Tell([u8; 64]),
    Ask(RpcReplyPort<u64>),
    Fail,
}

impl Actor for Counter {
    type Msg = Message;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Message>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(&self, _: ActorRef<Message>, message: Message, count: &mut u64) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Tell(payload) => *count += 1 + u64::from(payload[0]),
            Message::Ask(reply) => drop(reply.send(*count)),
            Message::Fail => return Err("told to fail".into()),
        }
        Ok(())
    }
}

/// A bare actor of ractor's.
#[derive(Clone)]
pub(crate) struct Ractor(ActorRef<Message>);

impl Client for Ractor {
    const NAME: &'static str = "ractor";
    type Life = Vec<JoinHandle<()>>;

    async fn begin(count: u64) -> (Vec<Self>, Self::Life) {
        let (mut clients, mut tasks) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (actor, task) = Actor::spawn(None, Counter, ()).await.unwrap();
            clients.push(Self(actor));
            tasks.push(task);
        }
        (clients, tasks)
    }

    async fn tell(&self) {
        self.0.send_message(Message::Tell(PAYLOAD)).ok().unwrap();
    }

    async fn ask(&self) -> u64 {
        self.0.call(Message::Ask, Some(DEADLINE)).await.unwrap().unwrap()
    }

    async fn end(clients: Vec<Self>, tasks: Self::Life) {
        clients.iter().for_each(|client| client.0.stop(None));
        for task in tasks {
            task.await.unwrap();
        }
    }
}

/// The same actor behind a handle, under a supervisor.
#[derive(Clone)]
pub(crate) struct Ours(Handle<Message>);

impl Client for Ours {
    const NAME: &'static str = "ours, supervised";
    type Life = Tree;

    async fn begin(count: u64) -> (Vec<Self>, Tree) {
        let handles: Vec<Handle<Message>> = (0..count).map(|n| Handle::new(&format!("counter-{n}"))).collect();
        let spec = |handle| ChildSpec::actor(handle, Restart::Permanent, |_| (Counter, ()));
        let specs = handles.iter().map(spec).collect();
        let tree = Tree::start(patient("root", specs), Arc::new(Nowhere), Stream::new(1)).await;
        (handles.into_iter().map(Self).collect(), tree.expect("counters start"))
    }

    async fn tell(&self) {
        self.0.send(Message::Tell(PAYLOAD)).ok().unwrap();
    }

    async fn ask(&self) -> u64 {
        self.0.call(Message::Ask, DEADLINE).await.unwrap()
    }

    async fn end(_: Vec<Self>, tree: Tree) {
        tree.shutdown().await;
    }
}

/// A supervisor that never waits and never gives up.
pub(crate) fn patient(name: &str, children: Vec<ChildSpec>) -> SupervisorSpec {
    SupervisorSpec {
        intensity: Intensity { max_restarts: u32::MAX, within: Duration::from_secs(1) },
        backoff: Backoff::NONE,
        ..SupervisorSpec::new(&SupervisorHandle::new(name), Strategy::OneForOne, children)
    }
}

/// A task on an unbounded channel: what ractor's mailboxes are made of.
#[derive(Clone)]
pub(crate) struct Channel(mpsc::UnboundedSender<Said>);

pub(crate) enum Said {
    Tell([u8; 64]),
    Ask(oneshot::Sender<u64>),
}

impl Client for Channel {
    const NAME: &'static str = "tokio task and channel";
    type Life = Vec<JoinHandle<()>>;

    async fn begin(count: u64) -> (Vec<Self>, Self::Life) {
        let one = |_| {
            let (sender, mut receiver) = mpsc::unbounded_channel();
            let task = tokio::spawn(async move {
                let mut count = 0;
                while let Some(said) = receiver.recv().await {
                    match said {
                        Said::Tell(payload) => count += 1 + u64::from(payload[0]),
                        Said::Ask(reply) => drop(reply.send(count)),
                    }
                }
            });
            (Self(sender), task)
        };
        (0..count).map(one).unzip()
    }

    async fn tell(&self) {
        self.0.send(Said::Tell(PAYLOAD)).ok().unwrap();
    }

    async fn ask(&self) -> u64 {
        let (reply, answer) = oneshot::channel();
        self.0.send(Said::Ask(reply)).ok().unwrap();
        answer.await.unwrap()
    }

    async fn end(clients: Vec<Self>, tasks: Self::Life) {
        drop(clients);
        for task in tasks {
            task.await.unwrap();
        }
    }
}

/// For kameo.
#[derive(kameo::Actor, Clone)]
pub(crate) struct KameoCounter(pub(crate) u64);

pub(crate) struct KameoTell([u8; 64]);
pub(crate) struct KameoAsk;

impl kameo::message::Message<KameoTell> for KameoCounter {
    type Reply = ();

    async fn handle(&mut self, told: KameoTell, _: &mut kameo::message::Context<Self, ()>) {
        self.0 += 1 + u64::from(told.0[0]);
    }
}

impl kameo::message::Message<KameoAsk> for KameoCounter {
    type Reply = u64;

    async fn handle(&mut self, _: KameoAsk, _: &mut kameo::message::Context<Self, u64>) -> u64 {
        self.0
    }
}

/// kameo's actor, with a mailbox without bound like all the others.
#[derive(Clone)]
pub(crate) struct Kameo(kameo::actor::ActorRef<KameoCounter>);

impl Client for Kameo {
    const NAME: &'static str = "kameo";
    type Life = ();

    async fn begin(count: u64) -> (Vec<Self>, ()) {
        let mut clients = Vec::new();
        for _ in 0..count {
            let actor = KameoCounter::spawn_with_mailbox(KameoCounter(0), kameo::mailbox::unbounded());
            actor.wait_for_startup().await;
            clients.push(Self(actor));
        }
        (clients, ())
    }

    async fn tell(&self) {
        self.0.tell(KameoTell(PAYLOAD)).await.unwrap();
    }

    async fn ask(&self) -> u64 {
        self.0.ask(KameoAsk).await.unwrap()
    }

    async fn end(clients: Vec<Self>, (): ()) {
        clients.iter().for_each(|client| client.0.kill());
        for client in clients {
            client.0.wait_for_shutdown().await;
        }
    }
}
