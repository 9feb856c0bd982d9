//! A policy that costs nothing, so that what is measured is everything around it.

use std::sync::Arc;

use stateset_agents::Backends;
use stateset_chat::ChatFormat;
use stateset_domain::{Engine, GenerateRequest, Tokenizer};
use stateset_testkit::{CharTokenizer, CountingLearner};

/// Repeats what the user said last, nine times in ten.
pub(crate) fn echo(request: &GenerateRequest) -> String {
    let user = CharTokenizer.special("<|user|>").unwrap();
    let said = CharTokenizer.decode(request.tokens.rsplit(|id| *id == user).next().unwrap()).unwrap();
    if request.stream.uniform_at(0) < 0.9 { said } else { "pardon?".into() }
}

/// `engine` beside a learner that only counts.
pub(crate) fn backends<E: Engine + 'static>(engine: impl Fn() -> E + Send + Sync + 'static) -> Backends {
    Backends {
        format: ChatFormat::new(Arc::new(CharTokenizer)).unwrap(),
        engine: Arc::new(move || Ok(Box::new(engine()))),
        learner: Arc::new(|| Ok(Box::new(CountingLearner::new()))),
    }
}
