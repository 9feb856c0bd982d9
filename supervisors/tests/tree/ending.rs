//! How children end: the ladder, and children that come and go.

use std::sync::mpsc;
use std::time::Duration;

use crate::probe::{Bench, Order, Passing, Probe, SECOND, eager};
use stateset_supervisors::{
    Budgets, CallError, ChildSpec, GiveUpReason, Restart, SpawnError, Strategy, SupervisorHandle, SupervisorSpec,
};
use stateset_telemetry::{Event, StopMeans};

fn means(stopped: &[stateset_supervisors::Stopped]) -> Vec<(&str, StopMeans)> {
    stopped.iter().map(|stopped| (stopped.child.as_str(), stopped.means)).collect()
}

#[tokio::test(start_paused = true)]
async fn each_child_is_taken_only_as_far_down_the_ladder_as_it_needs() {
    let bench = Bench::default();
    let children = ["idle", "busy", "backlogged", "stuck"].map(|name| bench.child(name, Restart::Permanent));
    let [(_, _), (busy, _), (backlogged, _), (stuck, _)] = &children;
    let specs = children.iter().map(|(_, spec)| spec.clone()).collect();
    let tree = bench.start(eager("root", Strategy::OneForOne, specs)).await;
    for _ in 0..2 {
        busy.send(Order::Work(SECOND / 4)).unwrap();
        backlogged.send(Order::Work(SECOND * 3 / 4)).unwrap();
        backlogged.send(Order::Work(SECOND * 3 / 4)).unwrap();
    }
    stuck.send(Order::Work(SECOND * 100)).unwrap();
    // Let everyone begin.
    tokio::task::yield_now().await;
    let stopped = tree.shutdown().await;
    use StopMeans::{Drained, Killed, Stopped};
    assert_eq!(means(&stopped), [("stuck", Killed), ("backlogged", Stopped), ("busy", Drained), ("idle", Drained)]);
    let lines = bench.journal.take().join(", ");
    assert!(lines.ends_with("backlogged stopped, backlogged gone, busy stopped, busy gone, idle stopped, idle gone"));
    assert!(!lines.contains("stuck stopped"), "what is killed does not run its last hook");
    let told = bench.sink.events().into_iter().filter(|event| matches!(event, Event::ChildStopped { .. }));
    assert_eq!(told.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_nested_supervisor_stops_its_own_and_tells_how() {
    let bench = Bench::default();
    let (_, a) = bench.child("a", Restart::Permanent);
    let (_, b) = bench.child("b", Restart::Permanent);
    let (_, c) = bench.child("c", Restart::Permanent);
    let inner = ChildSpec::supervisor(Restart::Permanent, eager("inner", Strategy::OneForOne, vec![b, c]));
    let tree = bench.start(eager("root", Strategy::OneForOne, vec![a, inner])).await;
    let stopped = tree.shutdown().await;
    use StopMeans::{Drained, Stopped};
    assert_eq!(means(&stopped), [("c", Drained), ("b", Drained), ("inner", Stopped), ("a", Drained)]);
    assert_eq!(stopped[0].supervisor, "inner");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_tree_is_killed() {
    let bench = Bench::default();
    let (child, spec) = bench.child("child", Restart::Permanent);
    drop(bench.start(eager("root", Strategy::OneForOne, vec![spec])).await);
    tokio::time::sleep(SECOND).await;
    assert!(!child.is_up());
    assert_eq!(bench.journal.take(), ["child up 1", "child gone"]);
}

/// Real threads: a handler that blocks one can be ended by nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_blocked_child_is_a_zombie_and_is_never_replaced() {
    let moment = Duration::from_millis(10);
    let bench = Bench::default();
    let (first, first_spec) = bench.child("first", Restart::Permanent);
    let (blocked, spec) = bench.child("blocked", Restart::Permanent);
    let spec = spec.with_budgets(Budgets { start: SECOND, drain: moment, stop: moment, kill: moment });
    let inner = eager("inner", Strategy::RestForOne, vec![first_spec, spec]);
    let inner = ChildSpec::supervisor(Restart::Permanent, inner);
    let mut tree = bench.start(eager("root", Strategy::OneForOne, vec![inner])).await;
    let (release, released) = mpsc::channel();
    blocked.send(Order::Block(released)).unwrap();
    // What its thread has taken on besides, nobody else would do.
    while !bench.journal.take().contains(&"blocked blocks".into()) {
        tokio::task::yield_now().await;
    }
    first.send(Order::Panic).unwrap();
    let gave_up = tree.ended().await.unwrap_err();
    assert_eq!((gave_up.supervisor.as_str(), gave_up.reason), ("root", GiveUpReason::Unstoppable));
    assert_eq!(gave_up.root_cause().0, "blocked");
    assert!(!bench.journal.take().contains(&"blocked up 2".into()));
    let zombies = bench
        .sink
        .events()
        .into_iter()
        .filter(|e| matches!(e, Event::ChildStopped { means, .. } if *means == StopMeans::Zombie));
    assert_eq!(zombies.count(), 1);
    drop(release);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_passing_children_leave_nothing_behind_and_say_nothing() {
    let (bench, rollouts) = (Bench::default(), SupervisorHandle::new("rollouts"));
    let root = SupervisorSpec { handle: rollouts.clone(), ..eager("rollouts", Strategy::OneForOne, vec![]) };
    let tree = bench.start(root).await;
    for n in 0..1000 {
        let name = format!("conversation-{n}");
        let spec = ChildSpec::once(&name, Passing { alive: bench.journal.clone() }, ());
        rollouts.spawn(spec, SECOND).await.unwrap();
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(bench.journal.holders(), 1, "neither actor, state nor spec of any child is kept");
    assert_eq!(bench.sink.events(), []);
    assert_eq!(tree.shutdown().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_passing_child_that_fails_is_told_and_not_restarted() {
    let (bench, rollouts) = (Bench::default(), SupervisorHandle::new("rollouts"));
    let root = SupervisorSpec { handle: rollouts.clone(), ..eager("rollouts", Strategy::OneForOne, vec![]) };
    let tree = bench.start(root).await;
    let (child, spec) = bench.child("conversation", Restart::Temporary);
    rollouts.spawn(spec, SECOND).await.unwrap();
    child.send(Order::Panic).unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!(bench.causes(), ["conversation 1 Panic(\"told to panic\")"]);
    assert!(!child.is_up());
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn dynamic_children_are_stopped_together_before_the_others() {
    let (bench, rollouts) = (Bench::default(), SupervisorHandle::new("rollouts"));
    let (_, judge) = bench.child("judge", Restart::Permanent);
    let root = SupervisorSpec { handle: rollouts.clone(), ..eager("rollouts", Strategy::OneForOne, vec![judge]) };
    let tree = bench.start(root).await;
    for n in 0..100 {
        let (child, spec) = bench.child(&format!("conversation-{n}"), Restart::Temporary);
        rollouts.spawn(spec, SECOND).await.unwrap();
        child.send(Order::Work(SECOND / 2)).unwrap();
    }
    let began = tokio::time::Instant::now();
    let stopped = tree.shutdown().await;
    assert!(began.elapsed() < SECOND, "a hundred ladders in {:?}", began.elapsed());
    assert_eq!((stopped.len(), stopped[100].child.as_str()), (101, "judge"));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_came_too_late_for_its_asker_is_taken_back() {
    let (bench, rollouts) = (Bench::default(), SupervisorHandle::new("rollouts"));
    let root = SupervisorSpec { handle: rollouts.clone(), ..eager("rollouts", Strategy::OneForOne, vec![]) };
    let tree = bench.start(root).await;
    let probe = bench.probe("slow", 1);
    let slow = ChildSpec::new("slow", Restart::Temporary, move |context| {
        let (name, journal) = (probe.name.clone(), probe.journal.clone());
        async move {
            tokio::time::sleep(SECOND * 2).await;
            Ok(context.spawn(Probe { name, incarnation: 1, journal }, ()).await?.1)
        }
    });
    let late = SpawnError::Supervisor(CallError::Deadline { child: "rollouts".into(), after: SECOND });
    assert_eq!(rollouts.spawn(slow, SECOND).await, Err(late));
    tokio::time::sleep(SECOND * 9).await;
    assert_eq!(bench.journal.take(), ["slow up 1", "slow stopped", "slow gone"]);
    tree.shutdown().await;
}
