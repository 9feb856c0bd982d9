//! What the inference actor serves: what was published, or nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorRef};
use stateset_actors::protocol::{InferenceMsg, Instruments, PolicySlot, Port, Prompt, Unprobed};
use stateset_actors::{InferenceActor, InferenceArguments, Lease};
use stateset_domain::{Completion, Engine, EngineError, NamedTensor, PolicySnapshot, PolicyVersion, Sampling, Stream};
use stateset_telemetry::Nowhere;
use stateset_testkit::{DeafEngine, ScriptedEngine};

const PATIENCE: Duration = Duration::from_secs(10);

fn snapshot(version: u64) -> PolicySnapshot {
    let tensor = NamedTensor { name: "w".into(), shape: vec![1], data: Arc::new([version as f32]) };
    PolicySnapshot::new(PolicyVersion(version), vec![tensor])
}

fn scripted() -> ScriptedEngine {
    ScriptedEngine::new(|_, _| "hello".into())
}

async fn serving<E: Engine + 'static>(slot: &Arc<PolicySlot>, engine: fn() -> E) -> ActorRef<InferenceMsg> {
    let build: stateset_actors::EngineFactory = Arc::new(move || Ok(Box::new(engine())));
    let instruments = Instruments::new(Arc::new(Nowhere), Arc::new(Unprobed));
    let arguments = InferenceArguments { build, slot: slot.clone(), lease: Lease::default(), instruments };
    Actor::spawn(None, InferenceActor, arguments).await.unwrap().0
}

async fn generate(engine: &ActorRef<InferenceMsg>) -> Result<Completion, EngineError> {
    let prompt = Prompt {
        conversation: 1,
        tokens: vec![70],
        sampling: Sampling::default(),
        stop_tokens: Vec::new(),
        stream: Stream::new(1),
    };
    Port::to(engine.clone()).call(|reply| InferenceMsg::Generate { prompt, reply }, PATIENCE).await.unwrap()
}

async fn load(engine: &ActorRef<InferenceMsg>) -> bool {
    let digest = Port::to(engine.clone()).call(|reply| InferenceMsg::Load { reply }, PATIENCE).await.unwrap();
    digest.unwrap() == snapshot(3).digest()
}

#[tokio::test]
async fn an_engine_answers_nobody_before_it_holds_what_was_published() {
    let slot = Arc::default();
    let engine = serving(&slot, scripted).await;
    assert!(matches!(generate(&engine).await, Err(EngineError::Request(_))));
    slot.set(snapshot(3));
    assert!(load(&engine).await);
    assert_eq!(generate(&engine).await.unwrap().version, PolicyVersion(3));
}

#[tokio::test]
async fn an_engine_that_holds_other_weights_says_so_and_answers_nobody() {
    let slot = Arc::default();
    let engine = serving(&slot, || DeafEngine(scripted())).await;
    // Its thread is up once it answers, and has seen no weights yet.
    assert!(generate(&engine).await.is_err());
    slot.set(snapshot(3));
    assert!(!load(&engine).await, "the digest is that of what it holds");
    assert!(matches!(generate(&engine).await, Err(EngineError::Request(_))));
}

#[tokio::test]
async fn a_restarted_engine_serves_the_current_version_to_the_first_who_asks() {
    let slot: Arc<PolicySlot> = Arc::default();
    slot.set(snapshot(2));
    slot.set(snapshot(3));
    let engine = serving(&slot, scripted).await;
    assert_eq!(generate(&engine).await.unwrap().version, PolicyVersion(3));
}
