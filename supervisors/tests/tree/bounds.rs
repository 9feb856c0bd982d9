//! Finishing, setting aside, restarting on purpose, and how long a shutdown may take.

use std::time::Duration;

use tokio::time::Instant;

use crate::probe::{Bench, Order, SECOND, eager};
use stateset_domain::Stream;
use stateset_supervisors::{
    AutoShutdown, Budgets, ChildSpec, Excess, Intensity, Restart, RestartError, State, Strategy, SupervisorSpec, Tree,
};
use stateset_telemetry::{Event, ExitCause};

#[tokio::test(start_paused = true)]
async fn a_finished_child_ends_the_whole_tree_well_and_in_reverse() {
    let bench = Bench::default();
    let (_, first) = bench.child("first", Restart::Permanent);
    let (worker, spec) = bench.child("worker", Restart::Transient);
    let (_, last) = bench.child("last", Restart::Permanent);
    let any = AutoShutdown::AnySignificant;
    let inner =
        SupervisorSpec { auto_shutdown: any, ..eager("inner", Strategy::OneForOne, vec![spec.significant(), last]) };
    let inner = ChildSpec::supervisor(Restart::Transient, inner).significant();
    let root = eager("root", Strategy::OneForOne, vec![first, inner]);
    let mut tree = bench.start(SupervisorSpec { auto_shutdown: any, ..root }).await;
    bench.journal.take();
    worker.send(Order::Finish).unwrap();
    assert_eq!(tree.ended().await, Ok(()));
    let lines = ["worker stopped", "worker gone", "last stopped", "last gone", "first stopped", "first gone"];
    assert_eq!(bench.journal.take(), lines);
    let finished = bench.sink.events().into_iter().filter_map(|event| match event {
        Event::SupervisorFinished { supervisor, child } => Some(format!("{supervisor} with {child}")),
        _ => None,
    });
    assert_eq!(finished.collect::<Vec<_>>(), ["inner with worker", "root with inner"]);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_can_be_significant_to_nobody_is_refused() {
    let bench = Bench::default();
    let (_, spec) = bench.child("child", Restart::Transient);
    let root = eager("root", Strategy::OneForOne, vec![spec.significant()]);
    let refused = Tree::start(root, bench.sink.clone(), Stream::new(1)).await.unwrap_err().to_string();
    assert!(refused.contains("under a supervisor that never shuts down by itself"), "{refused}");
    let (_, spec) = bench.child("child", Restart::Permanent);
    let any = AutoShutdown::AnySignificant;
    let root = SupervisorSpec { auto_shutdown: any, ..eager("root", Strategy::OneForOne, vec![spec.significant()]) };
    let refused = Tree::start(root, bench.sink.clone(), Stream::new(1)).await.unwrap_err().to_string();
    assert!(refused.contains("a permanent child cannot be significant"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_quarantined_child_is_left_alone_while_its_siblings_work_and_then_comes_back() {
    let bench = Bench::default();
    let (sibling, sibling_spec) = bench.child("sibling", Restart::Permanent);
    let (child, spec) = bench.child("child", Restart::Permanent);
    let none = Intensity { max_restarts: 0, within: SECOND };
    let root = SupervisorSpec {
        excess: Excess::Quarantine { cool_off: SECOND * 60 },
        ..eager("root", Strategy::OneForOne, vec![sibling_spec, spec.with_intensity(none)])
    };
    let tree = bench.start(root).await;
    child.send(Order::Panic).unwrap();
    tokio::time::sleep(SECOND * 30).await;
    assert_eq!(sibling.call(Order::Incarnation, SECOND).await, Ok(1));
    let node = tree.view().snapshot().find("child").unwrap().clone();
    assert_eq!((node.state, node.left_seconds.unwrap().round()), (State::Quarantined, 30.0));
    assert_eq!(node.aside.unwrap().root_cause(), ("child", &ExitCause::Panic("told to panic".into())));
    child.wait_up(SECOND * 31).await.unwrap();
    assert_eq!(tree.view().snapshot().find("child").unwrap().state, State::Up);
    let told = |event: &Event| matches!(event, Event::ChildSetAside { chain, quarantine_seconds: Some(60.0), .. } if chain[..] == ["child"]);
    assert_eq!(bench.sink.events().iter().filter(|event| told(event)).count(), 1);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_degraded_subtree_is_down_with_its_chain_of_causes_until_it_is_asked_for() {
    let bench = Bench::default();
    let (sibling, sibling_spec) = bench.child("sibling", Restart::Permanent);
    let (child, spec) = bench.child("child", Restart::Permanent);
    let none = Intensity { max_restarts: 0, within: SECOND };
    let inner = SupervisorSpec { intensity: none, ..eager("inner", Strategy::OneForOne, vec![spec]) };
    let inner = ChildSpec::supervisor(Restart::Permanent, inner);
    let root = eager("root", Strategy::OneForOne, vec![sibling_spec, inner]);
    let tree = bench.start(SupervisorSpec { excess: Excess::Degrade, intensity: none, ..root }).await;
    child.send(Order::Panic).unwrap();
    tokio::time::sleep(SECOND * 600).await;
    assert!(child.send(Order::Panic).is_err(), "its handle says that it is down");
    assert_eq!(sibling.call(Order::Incarnation, SECOND).await, Ok(1));
    let aside = tree.view().snapshot().find("inner").unwrap().aside.clone().unwrap();
    assert_eq!(aside.chain(), ["inner", "child"]);
    tree.view().restart("inner", SECOND).await.unwrap();
    child.wait_up(SECOND).await.unwrap();
    assert_eq!(child.call(Order::Incarnation, SECOND).await, Ok(2), "no number is given twice");
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_on_purpose_takes_a_stuck_child_down_the_ladder_and_counts_as_no_failure() {
    let bench = Bench::default();
    let (child, spec) = bench.child("child", Restart::Permanent);
    let none = Intensity { max_restarts: 0, within: SECOND };
    let inner = SupervisorSpec { intensity: none, ..eager("inner", Strategy::OneForOne, vec![spec]) };
    let inner = ChildSpec::supervisor(Restart::Permanent, inner);
    let tree = bench.start(eager("root", Strategy::OneForOne, vec![inner])).await;
    for n in 2..5 {
        child.send(Order::Work(SECOND * 10_000)).unwrap();
        tokio::task::yield_now().await;
        let began = Instant::now();
        tree.view().restart("child", SECOND * 10).await.unwrap();
        assert_eq!(began.elapsed(), SECOND * 2, "drain and stop were tried first");
        child.wait_up(SECOND).await.unwrap();
        assert_eq!(child.call(Order::Incarnation, SECOND).await, Ok(n));
    }
    let unknown = RestartError::Unknown { child: "nobody".into() };
    assert_eq!(tree.view().restart("nobody", SECOND).await, Err(unknown));
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_takes_no_longer_than_the_sum_of_all_budgets() {
    let bench = Bench::default();
    let budgets = Budgets { start: SECOND, drain: SECOND * 3, stop: SECOND * 2, kill: SECOND };
    let stuck = |name: &str| {
        let (handle, spec) = bench.child(name, Restart::Permanent);
        (handle, spec.with_budgets(budgets))
    };
    let children: Vec<_> = ["a", "b", "c"].into_iter().map(stuck).collect();
    let [(_, a), (_, b), (_, c)] = &children[..] else { unreachable!("three were made") };
    let inner = eager("inner", Strategy::OneForAll, vec![b.clone(), c.clone()]);
    let root = eager("root", Strategy::OneForOne, vec![a.clone(), ChildSpec::supervisor(Restart::Permanent, inner)]);
    let bound = root.to_end();
    assert_eq!(bound, SECOND * 18, "three ladders of 6 s");
    let tree = bench.start(root).await;
    for (handle, _) in &children {
        handle.send(Order::Work(SECOND * 10_000)).unwrap();
    }
    tokio::task::yield_now().await;
    let began = Instant::now();
    assert_eq!(tree.shutdown().await.len(), 4);
    let took = began.elapsed();
    assert!(took <= bound, "{took:?}");
    assert!(took >= SECOND * 15, "each was given its time to drain and to stop: {took:?}");
    assert!(took < bound - Duration::from_secs(2), "a kill is quick: {took:?}");
}
