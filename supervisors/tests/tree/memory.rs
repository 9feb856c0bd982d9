//! What outlives an incarnation: retained messages, snapshots, dead letters, and the view.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::time::sleep;

use crate::probe::{Bench, Order, SECOND, eager};
use stateset_supervisors::{
    Backoff, ChildSpec, DeadReason, Handle, Handover, Intensity, Restart, StartContext, State, Strategy, SupervisorSpec,
};

enum Note {
    /// Write this down.
    Write(u32),
    /// Read what is written.
    Read(RpcReplyPort<Vec<u32>>),
    Panic,
}

/// Writes down numbers, and leaves its page to its heir.
struct Scribe(Handover<Vec<u32>>);

impl Actor for Scribe {
    type Msg = Note;
    type State = Vec<u32>;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Note>, (): ()) -> Result<Vec<u32>, ActorProcessingErr> {
        Ok(self.0.received().map(|page| page.to_vec()).unwrap_or_default())
    }

    async fn handle(&self, _: ActorRef<Note>, note: Note, page: &mut Vec<u32>) -> Result<(), ActorProcessingErr> {
        match note {
            Note::Write(number) => {
                page.push(number);
                self.0.leave(page.clone());
            }
            Note::Read(reply) => drop(reply.send(page.clone())),
            Note::Panic => panic!("told to panic"),
        }
        Ok(())
    }
}

/// A supervisor whose children wait a second or so before they return.
fn slow(children: Vec<ChildSpec>) -> SupervisorSpec {
    SupervisorSpec {
        intensity: Intensity { max_restarts: 9, within: SECOND },
        backoff: Backoff { first: SECOND * 10, cap: SECOND * 10, reset_after: SECOND },
        ..eager("root", Strategy::OneForOne, children)
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_while_a_child_is_down_is_retained_in_order_up_to_the_bound() {
    let (bench, scribe) = (Bench::default(), Handle::retaining("scribe", 3));
    for number in [1, 2] {
        scribe.send(Note::Write(number)).unwrap();
    }
    let spec = ChildSpec::heir(&scribe, Restart::Permanent, |_, handover| (Scribe(handover), ()));
    let tree = bench.start(slow(vec![spec])).await;
    assert_eq!(scribe.call(Note::Read, SECOND).await, Ok(vec![1, 2]), "the first incarnation gets them too");
    scribe.send(Note::Panic).unwrap();
    sleep(SECOND / 1000).await;
    for number in 3..=7 {
        let sent = scribe.send(Note::Write(number));
        assert_eq!(sent.is_ok(), number <= 5, "the fourth and fifth come back");
    }
    scribe.wait_up(SECOND * 10).await.unwrap();
    assert_eq!(scribe.call(Note::Read, SECOND).await, Ok(vec![1, 2, 3, 4, 5]));
    let dead = tree.view().dead_letters().counts();
    assert_eq!(
        dead.iter().map(|dead| (dead.message, dead.reason, dead.count)).collect::<Vec<_>>(),
        [("Note", DeadReason::Down, 2)]
    );
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_mailbox_loses_is_delivered_at_most_once_and_counted() {
    let bench = Bench::default();
    let (child, spec) = bench.child("child", Restart::Permanent);
    let tree = bench.start(slow(vec![spec])).await;
    child.send(Order::Panic).unwrap();
    child.send(Order::Work(SECOND)).unwrap();
    child.send(Order::Work(SECOND)).unwrap();
    sleep(SECOND / 1000).await;
    assert!(child.send(Order::Work(SECOND)).is_err());
    assert!(child.offer(Order::Work(SECOND)).is_err(), "an offer is made again, and no dead letter");
    child.wait_up(SECOND * 10).await.unwrap();
    assert!(!bench.journal.take().contains(&"child worked".into()));
    let dead = tree.view().dead_letters().counts();
    let counts: Vec<_> = dead.iter().map(|dead| (&*dead.recipient, dead.message, dead.reason, dead.count)).collect();
    assert_eq!(counts, [("child", "Order", DeadReason::Down, 1), ("child", "Order", DeadReason::Lost, 2)]);
    let recent: Vec<_> = tree.view().dead_letters().recent().iter().map(|letter| letter.reason).collect();
    assert_eq!(recent, [DeadReason::Lost, DeadReason::Down]);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_outlives_whoever_left_it() {
    let (bench, scribe) = (Bench::default(), Handle::new("scribe"));
    let spec = ChildSpec::heir(&scribe, Restart::Permanent, |_, handover| (Scribe(handover), ()));
    let tree = bench.start(eager("root", Strategy::OneForOne, vec![spec])).await;
    scribe.send(Note::Write(7)).unwrap();
    scribe.send(Note::Panic).unwrap();
    tokio::task::yield_now().await;
    scribe.wait_up(SECOND).await.unwrap();
    assert_eq!(scribe.call(Note::Read, SECOND).await, Ok(vec![7]));
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_a_start_fails_with_is_tried_once() {
    let (bench, scribe) = (Bench::default(), Handle::new("scribe"));
    let published = scribe.clone();
    let spec = ChildSpec::new("scribe", Restart::Permanent, move |context: StartContext| {
        let (handle, handover) = (published.clone(), context.handover::<Vec<u32>>());
        async move {
            assert!(handover.received().is_none(), "an unlucky page");
            let (actor, incarnation) = context.spawn(Scribe(handover), ()).await?;
            handle.publish(actor);
            Ok(incarnation)
        }
    });
    let tree = bench.start(eager("root", Strategy::OneForOne, vec![spec.reached_by(&scribe)])).await;
    scribe.send(Note::Write(13)).unwrap();
    scribe.send(Note::Panic).unwrap();
    tokio::task::yield_now().await;
    scribe.wait_up(SECOND).await.unwrap();
    assert_eq!(scribe.call(Note::Read, SECOND).await, Ok(vec![]));
    assert!(bench.causes().iter().any(|line| line.contains("an unlucky page")));
    assert_eq!(tree.view().snapshot().find("scribe").unwrap().incarnation, 3);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_view_shows_every_child_while_it_lives_waits_and_ends() {
    let bench = Bench::default();
    let (busy, busy_spec) = bench.child("busy", Restart::Permanent);
    let (child, spec) = bench.child("child", Restart::Permanent);
    let inner = ChildSpec::supervisor(Restart::Permanent, slow(vec![busy_spec, spec]));
    let tree = bench.start(eager("top", Strategy::RestForOne, vec![inner])).await;
    let view = tree.view();
    for _ in 0..3 {
        busy.send(Order::Work(SECOND * 100)).unwrap();
    }
    child.send(Order::Panic).unwrap();
    sleep(SECOND / 1000).await;
    let look = |name: &str| view.snapshot().find(name).unwrap().clone();
    assert_eq!((look("top").strategy, look("root").children.len()), (Some("rest_for_one"), 2));
    assert_eq!((look("busy").state, look("busy").mailbox), (State::Up, 2), "one is being handled");
    assert_eq!((look("child").state, look("child").restarts), (State::Waiting, 0));
    assert!(look("child").left_seconds.unwrap() < 10.0 && look("child").last_exit.unwrap().is_abnormal());
    child.wait_up(SECOND * 10).await.unwrap();
    assert_eq!((look("child").state, look("child").restarts, look("child").incarnation), (State::Up, 1, 2));
    tree.shutdown().await;
    assert_eq!(["top", "root", "busy"].map(|name| look(name).state), [State::Down; 3]);
}

/// Real threads: the view needs nobody's help.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_view_can_be_read_while_a_handler_blocks_its_thread() {
    let bench = Bench::default();
    let (blocked, spec) = bench.child("blocked", Restart::Permanent);
    let tree = bench.start(eager("root", Strategy::OneForOne, vec![spec])).await;
    let (release, released) = std::sync::mpsc::channel();
    blocked.send(Order::Block(released)).unwrap();
    blocked.send(Order::Work(SECOND)).unwrap();
    let view = Arc::new(tree.view());
    let reading = std::thread::spawn(move || view.snapshot().find("blocked").unwrap().mailbox);
    assert!(reading.join().unwrap() >= 1);
    drop(release);
    tree.shutdown().await;
}
