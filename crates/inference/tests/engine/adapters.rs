//! Versions that are adapters of weights that stay.

use std::sync::Arc;

use stateset_domain::{Engine, EngineError, PolicySnapshot, PolicyVersion, Stream};
use stateset_inference::BatchEngine;
use stateset_models::{HostAdapter, HostWeights, LoraConfig, ServedWeights, Targets};

use crate::{LIMITS, Letters, answer, config, engine, finish, request, snapshot};

fn lora() -> LoraConfig {
    LoraConfig { rank: 4, alpha: 8.0, stabilised: false, dropout: 0.0, targets: Targets::AllLinear }
}

/// An adapter that has learnt as much as `by` says, at version 3.
fn adapter(by: f64) -> PolicySnapshot {
    let mut adapter = HostAdapter::fresh(&config(), lora(), Stream::new(5)).unwrap();
    let mut noise = Stream::new(6);
    adapter.factors.iter_mut().flat_map(|it| &mut it.b).for_each(|b| *b = (by * noise.normal()) as f32);
    PolicySnapshot::new(PolicyVersion(3), adapter.to_tensors())
}

/// An engine for adapters of policy 1.
fn adapting(by: f64) -> BatchEngine {
    let base = HostWeights::random(&config(), 0.15, Stream::new(1));
    let mut engine = BatchEngine::new(&config(), Arc::new(Letters), LIMITS).adapting(ServedWeights::of(&base), lora());
    assert_eq!(engine.load(&adapter(by)).unwrap(), adapter(by).digest());
    engine
}

#[test]
fn an_adapter_that_has_learnt_nothing_answers_as_its_base() {
    let (mine, base) = (answer(&mut adapting(0.0), request(1)), answer(&mut engine(LIMITS), request(1)));
    assert_eq!((&mine.tokens, &mine.log_probs, mine.version.0), (&base.tokens, &base.log_probs, 3));
    assert_ne!(answer(&mut adapting(0.3), request(1)).log_probs, base.log_probs);
}

#[test]
fn an_adapted_conversation_is_answered_alike_alone_and_in_company() {
    let mut busy = adapting(0.3);
    (1..30).for_each(|conversation| busy.submit(request(conversation)).unwrap());
    let replies = finish(&mut busy);
    for conversation in [1, 7, 29] {
        assert_eq!(replies[&(1000 + conversation)], answer(&mut adapting(0.3), request(conversation)));
    }
}

#[test]
fn whole_weights_are_no_version_of_an_adapter_and_the_old_one_stays() {
    let mut engine = adapting(0.3);
    let refused = engine.load(&snapshot(2)).unwrap_err();
    assert!(matches!(&refused, EngineError::Snapshot(told) if told.contains("lora_A")), "{refused}");
    assert_eq!(answer(&mut engine, request(1)), answer(&mut adapting(0.3), request(1)));
}
