//! Supervisors and real children, in virtual time.

use crate::probe::{Bench, Order, Probe, SECOND, eager};
use ractor::concurrency::Instant;
use stateset_domain::Stream;
use stateset_supervisors::{
    Backoff, CallError, ChildSpec, GiveUpReason, Handle, Intensity, Restart, StartContext, StartError, Strategy,
    SupervisorSpec, Tree,
};
use stateset_telemetry::{Event, ExitCause};

async fn incarnation(handle: &Handle<Order>) -> Result<u64, CallError> {
    handle.wait_up(SECOND * 100).await?;
    handle.call(Order::Incarnation, SECOND).await
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_end_is_named_and_healed_behind_the_same_handle() {
    let bench = Bench::default();
    let (child, spec) = bench.child("child", Restart::Permanent);
    let root = SupervisorSpec {
        intensity: Intensity { max_restarts: 9, within: SECOND },
        ..eager("root", Strategy::OneForOne, vec![spec])
    };
    let tree = bench.start(root).await;
    for order in [Order::Panic, Order::Fail, Order::Kill, Order::Finish] {
        child.send(order).unwrap();
        tokio::task::yield_now().await;
        assert!(incarnation(&child).await.is_ok());
    }
    let exits: Vec<_> = bench.causes().into_iter().filter(|line| !line.starts_with("restart")).collect();
    assert_eq!(
        exits,
        ["child 1 Panic(\"told to panic\")", "child 2 Error(\"told to fail\")", "child 3 Killed", "child 4 Normal"]
    );
    assert_eq!(incarnation(&child).await, Ok(5));
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_old_state_is_dropped_before_the_new_incarnation_begins() {
    let bench = Bench::default();
    let (child, spec) = bench.child("child", Restart::Permanent);
    let tree = bench.start(eager("root", Strategy::OneForOne, vec![spec])).await;
    for order in [Order::Panic, Order::Kill] {
        child.send(order).unwrap();
        tokio::task::yield_now().await;
        incarnation(&child).await.unwrap();
    }
    assert_eq!(bench.journal.take(), ["child up 1", "child gone", "child up 2", "child gone", "child up 3"]);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_kill_restarts_a_transient_child_and_a_normal_end_does_not() {
    let bench = Bench::default();
    let (child, spec) = bench.child("child", Restart::Transient);
    let tree = bench.start(eager("root", Strategy::OneForOne, vec![spec])).await;
    child.send(Order::Kill).unwrap();
    tokio::task::yield_now().await;
    assert_eq!(incarnation(&child).await, Ok(2));
    child.send(Order::Finish).unwrap();
    tokio::task::yield_now().await;
    assert!(matches!(child.wait_up(SECOND * 100).await, Err(CallError::Deadline { .. })));
    assert_eq!(bench.causes(), ["child 1 Killed", "restart child", "child 2 Normal"]);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn restarts_wait_longer_each_time_and_the_waits_are_those_that_were_told() {
    let bench = Bench::default();
    let (child, spec) = bench.child("child", Restart::Permanent);
    let root = SupervisorSpec {
        intensity: Intensity { max_restarts: 99, within: SECOND },
        backoff: Backoff { first: SECOND, cap: SECOND * 30, reset_after: SECOND * 60 },
        ..eager("root", Strategy::OneForOne, vec![spec])
    };
    let tree = bench.start(root).await;
    let began = Instant::now();
    for _ in 0..8 {
        child.send(Order::Panic).unwrap();
        tokio::task::yield_now().await;
        incarnation(&child).await.unwrap();
    }
    let told: Vec<f64> = bench.sink.events().iter().filter_map(wait_of).collect();
    let waited = began.elapsed().as_secs_f64();
    assert!((waited - told.iter().sum::<f64>()).abs() < 0.1, "waited {waited} s where {told:?} was told");
    assert!(told.iter().zip([1, 2, 4, 8, 16, 30, 30, 30]).all(|(wait, ceiling)| *wait < f64::from(ceiling)));
    assert!(waited > 30.0, "eight waits with ceilings of 121 s in all take 60 s on average");
    tree.shutdown().await;
}

fn wait_of(event: &Event) -> Option<f64> {
    if let Event::RestartScheduled { delay_seconds, .. } = event { Some(*delay_seconds) } else { None }
}

#[tokio::test(start_paused = true)]
async fn the_rest_is_stopped_in_reverse_and_started_in_order() {
    let bench = Bench::default();
    let children = ["a", "b", "c", "d"].map(|name| bench.child(name, Restart::Permanent));
    let [a, b, c, d] = &children;
    let specs = [a, b, c, d].map(|(_, spec)| spec.clone()).to_vec();
    let tree = bench.start(eager("root", Strategy::RestForOne, specs)).await;
    bench.journal.take();
    b.0.send(Order::Panic).unwrap();
    tokio::task::yield_now().await;
    assert_eq!((incarnation(&d.0).await, incarnation(&a.0).await), (Ok(2), Ok(1)));
    let lines = ["b gone", "d stopped", "d gone", "c stopped", "c gone", "b up 2", "c up 2", "d up 2"];
    assert_eq!(bench.journal.take(), lines);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_failure_too_many_climbs_the_tree_with_its_causes() {
    let bench = Bench::default();
    let (sibling, sibling_spec) = bench.child("sibling", Restart::Permanent);
    let (child, spec) = bench.child("child", Restart::Permanent);
    let inner = eager("inner", Strategy::OneForOne, vec![sibling_spec, spec]);
    let inner = ChildSpec::supervisor(Restart::Permanent, inner);
    let mut tree = bench.start(eager("root", Strategy::OneForOne, vec![inner])).await;
    for n in 1..=9 {
        child.send(Order::Panic).unwrap();
        tokio::task::yield_now().await;
        if n < 9 {
            incarnation(&child).await.unwrap();
        }
    }
    let gave_up = tree.ended().await.unwrap_err();
    assert_eq!((gave_up.supervisor.as_str(), gave_up.child.as_str()), ("root", "inner"));
    assert_eq!((gave_up.reason, gave_up.restarts_in_window), (GiveUpReason::TooManyRestarts, 3));
    assert_eq!(gave_up.root_cause(), ("child", &ExitCause::Panic("told to panic".into())));
    assert_eq!(
        gave_up.to_string(),
        "supervisor root gave up, restart 3 being one too many: inner ended: \
         supervisor inner gave up, restart 3 being one too many: child panicked: told to panic"
    );
    let escalations: Vec<_> = bench.causes().into_iter().filter(|line| line.contains("escalates")).collect();
    assert_eq!(escalations.last().unwrap(), "root escalates inner 3");
    assert_eq!(escalations.len(), 4);
    let stopped = bench.journal.take().iter().filter(|line| *line == "sibling stopped").count();
    assert_eq!(stopped, 3, "each time the sibling was stopped, not killed, before its supervisor ended");
    assert!(!sibling.is_up());
}

#[tokio::test(start_paused = true)]
async fn a_tree_that_cannot_all_be_started_is_rolled_back_and_says_why() {
    let bench = Bench::default();
    let (_, a) = bench.child("a", Restart::Permanent);
    let (_, b) = bench.child("b", Restart::Permanent);
    let bad = ChildSpec::new("bad", Restart::Permanent, |_| async { panic!("no such file") });
    let inner = ChildSpec::supervisor(Restart::Permanent, eager("inner", Strategy::OneForOne, vec![b, bad]));
    let root = eager("root", Strategy::OneForOne, vec![a, inner]);
    let error = Tree::start(root, bench.sink.clone(), Stream::new(1)).await.unwrap_err();
    assert_eq!(error.to_string(), "its child inner: its child bad: the start function panicked: no such file");
    let lines = ["a up 1", "b up 1", "b stopped", "b gone", "a stopped", "a gone"];
    assert_eq!(bench.journal.take(), lines);
}

/// A child whose second start does what `second` says.
fn stumbling(bench: &Bench, handle: &Handle<Order>, second: fn() -> Result<bool, StartError>) -> ChildSpec {
    let (published, journal) = (handle.clone(), bench.journal.clone());
    ChildSpec::new("child", Restart::Permanent, move |context: StartContext| {
        let incarnation = context.incarnation();
        let (handle, probe) =
            (published.clone(), Probe { name: "child".into(), incarnation, journal: journal.clone() });
        async move {
            if incarnation == 2 && second()? {
                std::future::pending::<()>().await;
            }
            let (actor, incarnation) = context.spawn(probe, ()).await?;
            handle.publish(actor);
            Ok(incarnation)
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_fails_hangs_or_panics_is_one_more_failure() {
    type Second = fn() -> Result<bool, StartError>;
    let seconds: [(Second, &str); 3] = [
        (|| Err(StartError::Refused("no memory".into())), "no memory"),
        (|| Ok(true), "it was not up within 5s"),
        (|| panic!("at {}", 7), "the start function panicked: at 7"),
    ];
    for (second, text) in seconds {
        let (bench, child) = (Bench::default(), Handle::new("child"));
        let root = eager("root", Strategy::OneForOne, vec![stumbling(&bench, &child, second)]);
        let tree = bench.start(root).await;
        child.send(Order::Panic).unwrap();
        tokio::task::yield_now().await;
        assert_eq!(incarnation(&child).await, Ok(3));
        assert_eq!(bench.causes()[2..], [format!("child 2 StartFailed({text:?})"), "restart child".to_string()]);
        tree.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn calls_to_a_child_that_is_down_busy_or_silent_say_so() {
    let bench = Bench::default();
    let (child, spec) = bench.child("child", Restart::Temporary);
    let name = || "child".into();
    assert_eq!(child.call(Order::Incarnation, SECOND).await, Err(CallError::Down { child: name() }));
    let tree = bench.start(eager("root", Strategy::OneForOne, vec![spec])).await;
    assert_eq!(child.call(Order::Ignore, SECOND).await, Err(CallError::Dropped { child: name() }));
    child.send(Order::Work(SECOND * 2)).unwrap();
    let late = CallError::Deadline { child: name(), after: SECOND };
    assert_eq!(child.call(Order::Incarnation, SECOND).await, Err(late));
    child.send(Order::Panic).unwrap();
    assert_eq!(child.call(Order::Incarnation, SECOND * 9).await, Err(CallError::Dropped { child: name() }));
    let undelivered = child.send(Order::Work(SECOND)).unwrap_err();
    assert!(matches!(undelivered.message, Order::Work(SECOND)), "the message comes back");
    tree.shutdown().await;
}
