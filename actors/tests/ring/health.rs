//! What health rules do to a run, and that it is still a function of its seed.

use std::sync::{Arc, Mutex};

use stateset_actors::policy::{EarlyStopping, Policies, Rule};
use stateset_actors::protocol::{FinishReason, Site};
use stateset_domain::{Directive, Engine, Purpose, Scaling};
use stateset_telemetry::Event;
use stateset_testkit::{FaultInjector, MemoryStore, ScriptedEngine};

use crate::rig::{Ran, Rig, sometimes_echo};

fn rule(when: &str, directives: Vec<Directive>) -> Rule {
    let when = when.parse().unwrap();
    Rule { name: "test".into(), when, hold: 1, directives, acts: true, cooldown: 0, clear: None, max: 1, doubt: None }
}

fn ruled(rule: Rule) -> Rig {
    Rig { policies: Policies { rules: vec![rule], episodes_per_step: 12, ..Policies::default() }, ..Rig::default() }
}

fn halve() -> Directive {
    Directive::ScaleLr(Scaling { by: 0.5, floor: None, ceiling: None })
}

/// The step of every row, and the learning rate in it.
fn rows(ran: &Ran) -> Vec<(u64, f64)> {
    ran.recorder.steps.lock().unwrap().iter().map(|row| (row.step, row.learner.lr)).collect()
}

fn reason(ran: &Ran) -> (FinishReason, String) {
    let finished = ran.recorder.finished.get().unwrap();
    (finished.reason, finished.said.clone())
}

/// Once: the step comes again before the rule may fire again.
fn once(when: &str, directives: Vec<Directive>) -> Rule {
    Rule { cooldown: 9, ..rule(when, directives) }
}

fn back_and_slower() -> Rule {
    once("step == 4", vec![Directive::Rewind, halve()])
}

#[tokio::test]
async fn a_run_goes_back_to_its_newest_healthy_checkpoint_and_on_as_it_was_told() {
    let store = MemoryStore::default();
    let ran = Rig { store: store.clone(), ..ruled(back_and_slower()) }.run().await;
    assert_eq!(*ran.recorder.restored.lock().unwrap(), [0, 2]);
    assert_eq!(rows(&ran), [(1, 1.0), (2, 1.0), (3, 0.5), (4, 0.5)]);
    let went_back =
        |event: &Event| matches!(event, Event::Restored { step: 2, cause } if cause == "test, after step 4");
    assert_eq!(ran.count(went_back), 1);
    assert_eq!(ran.count(|event| matches!(event, Event::Ruled(ruling) if ruling.step == 4 && ruling.acts())), 1);
    assert_ne!(ran.digest(), Rig::default().run().await.digest());
    let steps: Vec<u64> = store.checkpoints().iter().map(|checkpoint| checkpoint.progress.step).collect();
    assert_eq!(steps, [2, 2, 4], "the decision is written down where the run has gone back to");
}

#[tokio::test]
async fn after_going_back_other_numbers_are_drawn_though_nothing_was_adjusted() {
    let ran = ruled(once("step == 4", vec![Directive::Rewind])).run().await;
    assert_eq!(reason(&ran).0, FinishReason::Completed);
    assert_ne!(ran.digest(), Rig::default().run().await.digest());
}

#[tokio::test]
async fn a_run_without_a_checkpoint_goes_back_to_its_beginning() {
    let ran = ruled(once("step == 1", vec![Directive::Rewind])).run().await;
    assert_eq!(*ran.recorder.restored.lock().unwrap(), [0, 0]);
    assert_eq!(rows(&ran).len(), 4);
    assert_eq!(ran.recorder.finished.get().unwrap().episodes.started, 48, "what was given up is not counted");
}

#[tokio::test]
async fn a_checkpoint_made_in_doubt_is_no_place_to_go_back_to() {
    let doubt = Rule { name: "doubt".into(), hold: 2, ..rule("step == 2", vec![Directive::SkipStep]) };
    let mut rig = ruled(once("step == 4", vec![Directive::Rewind]));
    rig.policies.rules.push(doubt);
    let ran = rig.run().await;
    assert_eq!(*ran.recorder.restored.lock().unwrap(), [0, 0], "step 2 was saved when a condition had begun to hold");
}

#[tokio::test]
async fn a_run_that_would_go_back_for_ever_stops_and_says_why() {
    let ran = ruled(Rule { max: 2, ..rule("step == 4", vec![Directive::Rewind]) }).run().await;
    assert_eq!(*ran.recorder.restored.lock().unwrap(), [0, 2, 2]);
    let said = "stopped: test is still so after the run has gone back 2 times";
    assert_eq!(reason(&ran), (FinishReason::Stopped, said.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_with_directives_is_the_same_however_often_it_is_crashed() {
    let undisturbed = ruled(back_and_slower()).run().await;
    for visit in [1, 20, 44, 60, 75, 90] {
        let probe = Arc::new(FaultInjector::new([(Site::Learner, visit)]));
        let ran = Rig { probe, restarts: 1, ..ruled(back_and_slower()) }.run().await;
        assert_eq!((ran.digest(), rows(&ran)), (undisturbed.digest(), rows(&undisturbed)), "visit {visit}");
    }
    for visit in [1, 2, 3, 4] {
        let probe = Arc::new(FaultInjector::new([(Site::Checkpointer, visit)]));
        let ran = Rig { probe, restarts: 1, ..ruled(back_and_slower()) }.run().await;
        assert_eq!((ran.digest(), rows(&ran)), (undisturbed.digest(), rows(&undisturbed)), "call {visit}");
    }
}

#[tokio::test]
async fn a_run_with_directives_is_the_same_however_it_is_interrupted_and_resumed() {
    let undisturbed = ruled(back_and_slower()).run().await;
    for step in 1..=4 {
        let store = MemoryStore::default();
        let first = Rig { store: store.clone(), interrupt_after: Some(step), ..ruled(back_and_slower()) }.run().await;
        assert_eq!(reason(&first).0, FinishReason::Interrupted);
        let second = Rig { store, ..ruled(back_and_slower()) }.run().await;
        assert_eq!(second.digest(), undisturbed.digest(), "interrupted after step {step}");
    }
}

#[tokio::test]
async fn a_step_that_is_taken_back_teaches_nothing_and_is_counted() {
    let store = MemoryStore::default();
    let ran = Rig { store: store.clone(), ..ruled(rule("step == 2", vec![Directive::SkipStep])) };
    let ran = Rig { plan: stateset_actors::policy::Plan { save_every: 1, ..ran.plan.clone() }, ..ran }.run().await;
    let digests: Vec<_> = store.checkpoints().iter().map(|checkpoint| checkpoint.progress.policy_digest).collect();
    assert!(digests[0] == digests[1] && digests[1] != digests[2]);
    let skipped: Vec<bool> = ran.recorder.steps.lock().unwrap().iter().map(|row| row.learner.skipped).collect();
    assert_eq!(skipped, [false, true, false, false]);
}

#[tokio::test]
async fn a_run_that_is_told_to_stop_is_saved_measured_and_stays_stopped() {
    let store = MemoryStore::default();
    let stop = || rule("step == 3", vec![Directive::Stop { reason: "enough".into() }]);
    let ran = Rig { store: store.clone(), ..ruled(stop()) }.run().await;
    assert_eq!(reason(&ran), (FinishReason::Stopped, "stopped: enough".into()));
    let measured: Vec<_> =
        ran.recorder.evaluations.lock().unwrap().iter().map(|made| (made.at_step, made.purpose)).collect();
    assert_eq!(measured[2..], [(3, Purpose::EvaluateSampled), (3, Purpose::EvaluateGreedy)]);
    assert_eq!(store.checkpoints().last().unwrap().progress.step, 3);
    let again = Rig { store, ..ruled(stop()) }.run().await;
    assert_eq!((reason(&again), again.digest()), (reason(&ran), ran.digest()));
    assert!(rows(&again).is_empty(), "no step was taken");
}

#[tokio::test]
async fn a_run_that_does_not_improve_stops_early() {
    let early_stopping = Some(EarlyStopping { patience: 2, min_delta: 1.0 });
    let rig = Rig { policies: Policies { early_stopping, ..Policies::default() }, ..Rig::default() };
    let ran = Rig { plan: stateset_actors::policy::Plan { eval_every: 1, ..rig.plan.clone() }, ..rig }.run().await;
    let (reason, said) = reason(&ran);
    assert_eq!((reason, rows(&ran).len()), (FinishReason::Stopped, 2));
    assert!(said.contains("of step 0 for 2 evaluations"), "{said}");
}

#[tokio::test]
async fn an_evaluation_can_be_asked_for() {
    let ran = ruled(rule("step == 2", vec![Directive::Evaluate])).run().await;
    let made = ran.recorder.evaluations.lock().unwrap().iter().filter(|made| made.at_step == 2).count();
    assert_eq!((made, rows(&ran).len()), (2, 4));
}

#[tokio::test]
async fn a_pause_ends_by_itself_and_changes_nothing() {
    let ran = ruled(rule("step == 2", vec![Directive::Pause { seconds: 0.02 }])).run().await;
    assert_eq!(ran.digest(), Rig::default().run().await.digest());
}

#[tokio::test]
async fn a_pause_can_be_interrupted() {
    let pause = rule("step == 2", vec![Directive::Pause { seconds: 3600.0 }]);
    let ran = Rig { interrupt_after: Some(2), ..ruled(pause) }.run().await;
    assert_eq!(reason(&ran).0, FinishReason::Interrupted);
}

#[tokio::test]
async fn an_adjusted_temperature_is_that_of_later_training_episodes_alone() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noting = seen.clone();
    let engine = move || -> Box<dyn Engine> {
        let noting = noting.clone();
        Box::new(ScriptedEngine::new(move |_, request| {
            noting.lock().unwrap().push(request.sampling.temperature);
            sometimes_echo(request)
        }))
    };
    let warmer = Directive::ScaleTemperature(Scaling { by: 1.5, floor: None, ceiling: None });
    let ran = Rig { engine: Arc::new(engine), ..ruled(rule("step == 2", vec![warmer])) }.run().await;
    assert_eq!(rows(&ran).len(), 4);
    let seen = seen.lock().unwrap();
    // Of each step 36 replies; of each evaluation 30.
    let count = |wanted: f32| seen.iter().filter(|temperature| **temperature == wanted).count();
    assert_eq!((count(1.5), count(1.0), count(0.0)), (72, 72 + 60, 60));
}

#[tokio::test]
async fn what_is_the_matter_can_be_read_from_outside() {
    let ran = ruled(Rule { acts: false, ..rule("step >= 4", vec![Directive::Rewind]) }).run().await;
    let status = ran.instruments.health.read();
    assert_eq!((status.step, status.issues[0].rule.as_str(), status.issues[0].since_step), (4, "test", 4));
    assert_eq!(status.recommended_actions, ["test: go back to the newest healthy checkpoint"]);
}
