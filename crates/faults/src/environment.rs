//! A world whose tools fail on demand.

use std::sync::Arc;

use stateset_domain::{Role, Scenario, Split, Stream};
use stateset_environments::{Action, Environment, EnvironmentError, Session, Start, Step};

use crate::{Injector, Kind, Site};

/// What a tool behind a broken proxy answers.
const GARBAGE: &str = "<html>502 Bad Gateway</html>\u{fffd}\u{fffd} {\"result\": [";

/// Another environment, whose tools answer wrongly or not at all when the plan says so.
pub struct FaultyEnvironment {
    inner: Arc<dyn Environment>,
    injector: Arc<Injector>,
}

impl FaultyEnvironment {
    /// `inner`, with the faults of [`Site::Tools`].
    pub fn new(inner: Arc<dyn Environment>, injector: Arc<Injector>) -> Self {
        Self { inner, injector }
    }
}

impl Environment for FaultyEnvironment {
    fn scenario(&self, split: Split, index: u64) -> Scenario {
        self.inner.scenario(split, index)
    }

    fn start(&self, scenario: &Scenario, stream: Stream) -> Result<Start, EnvironmentError> {
        let Start { opening, session } = self.inner.start(scenario, stream)?;
        Ok(Start { opening, session: Box::new(FaultySession { inner: session, injector: self.injector.clone() }) })
    }
}

struct FaultySession {
    inner: Box<dyn Session>,
    injector: Arc<Injector>,
}

impl Session for FaultySession {
    fn step(&mut self, action: &Action) -> Result<Step, EnvironmentError> {
        let mut step = self.inner.step(action)?;
        let answers: Vec<usize> =
            (0..step.observation.len()).filter(|at| step.observation[*at].role == Role::Tool).collect();
        if !answers.is_empty()
            && let Some(injected) = self.injector.visit(Site::Tools)
        {
            if injected.fault.kind != Kind::ToolGarbage {
                return Err(EnvironmentError(injected.text()));
            }
            answers.into_iter().for_each(|at| step.observation[at].content = GARBAGE.into());
        }
        Ok(step)
    }
}
