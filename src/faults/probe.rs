//! Faults in the actors themselves.

use std::sync::Arc;

use stateset_actors::protocol::{Probe, Site as Actor, Visit};
use stateset_faults::{Injector, Kind, Site};

/// Lets handlers panic, fail and wait as planned, after another probe has looked in.
pub(crate) struct FaultProbe {
    /// The other probe.
    pub(crate) inner: Arc<dyn Probe>,
    /// Knows what is due.
    pub(crate) injector: Arc<Injector>,
}

impl Probe for FaultProbe {
    fn visit(&self, actor: Actor) -> Visit {
        match self.inner.visit(actor) {
            Visit::Pass => {}
            other => return other,
        }
        let Some(injected) = self.injector.visit(site(actor)) else { return Visit::Pass };
        match injected.fault.kind {
            Kind::Panic => injected.panic(),
            Kind::Error => Visit::Fail(injected.text()),
            // In an actor both are a wait; a silence is longer than the deadlines.
            _ => Visit::Wait(injected.fault.lasts),
        }
    }
}

fn site(actor: Actor) -> Site {
    match actor {
        Actor::Learner => Site::Learner,
        Actor::Environment => Site::Environment,
        Actor::Conversation => Site::Conversation,
        Actor::Inference => Site::Inference,
        Actor::Judge => Site::Judge,
        Actor::Checkpointer => Site::Checkpointer,
        Actor::HealthMonitor => Site::HealthMonitor,
    }
}
