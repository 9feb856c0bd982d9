//! The same small actor four times: it counts what it is told, and answers with its count.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use stateset_domain::Stream;
use stateset_supervisors::{
    Backoff, ChildSpec, Handle, Intensity, Restart, Strategy, SupervisorHandle, SupervisorSpec, Tree,
};
use stateset_telemetry::Nowhere;
use tokio::sync::{mpsc, oneshot};

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What all of them understand. The payload is 64 bytes, so that a message is not just a pointer.
pub(crate) enum Said {
    Tell([u8; 64]),
    Ask(oneshot::Sender<u64>),
}

pub(crate) const TELL: Said = Said::Tell([0; 64]);

/// A task on a bounded channel.
pub(crate) fn tokio_task(bound: usize) -> mpsc::Sender<Said> {
    let (sender, mut receiver) = mpsc::channel(bound);
    tokio::spawn(async move {
        let mut count = 0;
        while let Some(said) = receiver.recv().await {
            match said {
                Said::Tell(payload) => count += 1 + u64::from(payload[0]),
                Said::Ask(reply) => drop(reply.send(count)),
            }
        }
    });
    sender
}

/// A task on an unbounded channel: what ractor's mailboxes are made of.
pub(crate) fn tokio_unbounded() -> mpsc::UnboundedSender<Said> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut count = 0;
        while let Some(said) = receiver.recv().await {
            match said {
                Said::Tell(payload) => count += 1 + u64::from(payload[0]),
                Said::Ask(reply) => drop(reply.send(count)),
            }
        }
    });
    sender
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

/// A counter under a supervisor that never waits and never gives up.
pub(crate) async fn supervised() -> (Handle<Message>, Tree) {
    let counter = Handle::new("counter");
    let spec = ChildSpec::actor(&counter, Restart::Permanent, |_| (Counter, ()));
    let tree = Tree::start(patient("root", vec![spec]), Arc::new(Nowhere), Stream::new(1)).await;
    (counter, tree.expect("a counter starts"))
}

/// A supervisor that never waits and never gives up.
pub(crate) fn patient(name: &str, children: Vec<ChildSpec>) -> SupervisorSpec {
    SupervisorSpec {
        intensity: Intensity { max_restarts: u32::MAX, within: Duration::from_secs(1) },
        backoff: Backoff::NONE,
        ..SupervisorSpec::new(&SupervisorHandle::new(name), Strategy::OneForOne, children)
    }
}

/// For kameo.
#[derive(kameo::Actor, Clone)]
pub(crate) struct KameoCounter(pub(crate) u64);

pub(crate) struct KameoTell(pub(crate) [u8; 64]);
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
