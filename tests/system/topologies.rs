//! A tree that is arranged otherwise comes to the same result.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use stateset_agents::prelude::*;
use stateset_agents::report::Summary;
use stateset_testkit::FaultInjector;

use crate::lab::{Lab, assert_undisturbed, events, expect, small};

#[test]
fn pools_and_another_tree_do_not_change_the_result() {
    let lab = Lab::new();
    let sets = [
        "topology.actors.judge.pool.size=3",
        "topology.actors.environment.pool.size=2",
        "topology.supervisors.rollouts.children=[conversations, scoring, environment]",
        "topology.supervisors.scoring.children=[judge]",
        "topology.supervisors.root.children=[persistence, serving-line, rollouts, learning]",
    ];
    expect(0, lab.train().args(sets.iter().flat_map(|set| ["--set", set])));
    assert_undisturbed(&lab.run());
}

/// Runs with `topology` and perhaps kinds of one's own.
async fn run(lab: &Lab, topology: &str, faults: FaultInjector, kind: Option<Kind>) -> (Summary, Vec<Event>) {
    let output = format!("run.output_dir={}", Value::from(lab.runs().to_str().unwrap()));
    let builder = kind.into_iter().fold(Runtime::builder(), |builder, kind| builder.register(kind));
    let builder = builder.config_file(small(), &[output, format!("topology={topology}")]).unwrap();
    builder.probe(Arc::new(faults)).build().unwrap().run().await.unwrap();
    (assert_undisturbed(&lab.run()), events(&lab.run()).into_iter().map(|timed| timed.event).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_a_pool_that_panics_is_restarted_while_the_others_go_on() {
    let lab = Lab::new();
    let faults = FaultInjector::new([(Site::Judge, 40)]);
    let (summary, events) = run(&lab, "{actors: {judge: {pool: {size: 3}}}}", faults, None).await;
    assert_eq!(summary.restarts, 1);
    let restarted = events.iter().find_map(|event| match event {
        Event::RestartScheduled { supervisor, child, .. } => Some((supervisor.as_str(), child.as_str())),
        _ => None,
    });
    let (supervisor, child) = restarted.unwrap();
    assert!(supervisor == "judge" && child.starts_with("judge-"), "{events:#?}");
}

/// Passes everything on to the judge, and panics once.
struct Courier;

impl Actor for Courier {
    type Msg = JudgeMsg;
    type State = (Port<JudgeMsg>, Arc<AtomicU64>);
    type Arguments = Self::State;

    async fn pre_start(&self, _: ActorRef<JudgeMsg>, state: Self::State) -> Result<Self::State, ActorProcessingErr> {
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<JudgeMsg>,
        message: JudgeMsg,
        (judge, seen): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        assert!(seen.fetch_add(1, Ordering::Relaxed) != 50, "dropped something");
        Ok(judge.post(message, Duration::from_secs(10)).await.map_err(|_| "the judge is down")?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_of_ones_own_is_supervised_like_the_others_and_its_crash_loses_nothing() {
    let (lab, seen) = (Lab::new(), Arc::new(AtomicU64::new(0)));
    let count = seen.clone();
    let courier = Kind::new("courier", move |seat: &Seat<'_, JudgeMsg>| {
        let state = (seat.port("judge")?, count.clone());
        Ok(seat.actor(move |_| (Courier, state.clone())))
    });
    let courier = courier.sends::<JudgeMsg>("judge", "trajectory").pooled();
    let topology = "{supervisors: {rollouts: {children: [judge, courier, environment, conversations]}}, \
                    actors: {courier: {pool: {size: 2}}, conversations: {to: {judge: courier}}}}";
    let (summary, events) = run(&lab, topology, FaultInjector::new([]), Some(courier)).await;
    assert_eq!(summary.restarts, 1);
    let retried = events.iter().filter(|event| matches!(event, Event::EpisodeRetried { .. })).count() as u64;
    assert!(retried >= 1);
    // Two evaluations of 8 before, two after, and every attempt.
    assert_eq!(
        seen.load(Ordering::Relaxed),
        96 + 32 + 1,
        "what was in the mailbox was not seen, and what is retried is seen again"
    );
}
