//! A panic in any of the seven actors: its supervisor heals it, the cause is on record, and the result is the same.

use std::sync::Arc;

use stateset_actors::protocol::Site;
use stateset_agents::read_result;
use stateset_telemetry::{Event, ExitCause};
use stateset_testkit::FaultInjector;

use crate::lab::{Lab, assert_undisturbed, events, steps};

/// Runs with a panic at the `nth` visit of `site`, and checks that it was healed by `restarts` restarts.
pub(crate) async fn survive(site: Site, nth: u64, restarts: u64) -> (Lab, Vec<Event>) {
    let lab = Lab::new();
    let probe = Arc::new(FaultInjector::new([(site, nth)]));
    lab.runtime().probe(probe).build().unwrap().run().await.unwrap();
    let summary = assert_undisturbed(&lab.run());
    assert_eq!(summary.restarts, restarts);
    let events: Vec<Event> = events(&lab.run()).into_iter().map(|timed| timed.event).collect();
    let panicked = events.iter().filter(|event| match event {
        Event::ChildExited { child, cause: ExitCause::Panic(text), .. } => {
            child.starts_with(site.name()) && text.contains(&format!("injected fault: visit {nth} of {site}"))
        }
        _ => false,
    });
    assert_eq!(panicked.count(), 1, "{events:#?}");
    (lab, events)
}

fn retried(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::EpisodeRetried { attempt: 1, .. })).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_that_panics_goes_back_to_its_checkpoint() {
    let (_lab, events) = survive(Site::Learner, 60, 1).await;
    assert!(events.iter().any(|event| matches!(event, Event::Restored { step: 2, .. })), "{events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_panics_loses_only_the_call_in_flight() {
    let (_lab, events) = survive(Site::Environment, 60, 1).await;
    assert!(retried(&events) >= 1, "{events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_panics_is_tried_again_and_not_restarted() {
    let (_lab, events) = survive(Site::Conversation, 60, 0).await;
    assert_eq!(retried(&events), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inference_actor_that_panics_serves_the_same_weights_again() {
    let (_lab, events) = survive(Site::Inference, 60, 1).await;
    assert!(retried(&events) >= 1, "{events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_that_panics_costs_a_retry() {
    let (_lab, events) = survive(Site::Judge, 60, 1).await;
    assert!(retried(&events) >= 1, "{events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpointer_that_panics_is_asked_again() {
    let (_lab, events) = survive(Site::Checkpointer, 3, 1).await;
    let saved = |event: &Event| match event {
        Event::CheckpointSaved { step, .. } => Some(*step),
        _ => None,
    };
    assert_eq!(events.iter().filter_map(saved).collect::<Vec<_>>(), [2, 4, 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_monitor_that_panics_is_hardly_missed() {
    survive(Site::HealthMonitor, 3, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_keeps_failing_ends_with_its_reason_and_can_be_resumed() {
    let lab = Lab::new();
    let always = FaultInjector::new((60..1000).map(|visit| (Site::Judge, visit)));
    let error = lab.runtime().probe(Arc::new(always)).build().unwrap().run().await.unwrap_err();
    let told = format!("{error:#}");
    assert!(told.starts_with("the runtime gave up; resume the run with --resume: "), "{told}");
    assert!(told.contains("judge") && told.contains("injected fault"), "{told}");
    let taken = steps(&lab.run());
    lab.runtime().resume(true).build().unwrap().run().await.unwrap();
    let summary = read_result(&lab.run()).unwrap();
    assert_eq!((summary.steps, summary.episodes_lost, summary.episodes_duplicated), (6, 0, 0));
    assert_eq!(summary.episodes_completed + summary.episodes_failed, 96);
    assert_eq!(steps(&lab.run())[..taken.len()], taken, "what was learned from without the judge stays learned");
}
