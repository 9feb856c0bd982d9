//! From parts to actors: who supervises whom, and who can reach whom.
//!
//! ```text
//! root (rest_for_one)
//! ├─ persistence   one_for_one   checkpointer
//! ├─ learning      rest_for_one  learner
//! ├─ serving-line  one_for_one   inference
//! ├─ rollouts      one_for_one   judge, environment, conversations (temporary, dynamic)
//! └─ watch         one_for_one   health_monitor
//! ```

mod ring;

use std::sync::Arc;
use std::time::Duration;

use stateset_actors::policy::{HealthLimits, Plan, Retries};
use stateset_actors::protocol::{Deadlines, Instruments, LearnerMsg, Observer, PolicySlot};
use stateset_actors::{EngineFactory, LearnerFactory, StoreFactory};
use stateset_chat::ChatFormat;
use stateset_domain::Stream;
use stateset_environments::Environment;
use stateset_rewards::Reward;
use stateset_supervisors::{Backoff, GaveUp, Intensity, StartError, Stopped, SupervisorHandle, SupervisorSpec, Tree};

use ring::Ring;

/// Everything a tree of actors is made from.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) plan: Plan,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) reward: Arc<dyn Reward>,
    pub(crate) format: ChatFormat,
    pub(crate) engine: EngineFactory,
    pub(crate) learner: LearnerFactory,
    pub(crate) store: StoreFactory,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) instruments: Instruments,
    pub(crate) limits: Limits,
}

/// How much, how long, how often.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) max_context: usize,
    pub(crate) max_live_episodes: usize,
    pub(crate) retries: Retries,
    pub(crate) deadlines: Deadlines,
    pub(crate) stall: Duration,
    pub(crate) health: HealthLimits,
    pub(crate) intensity: Intensity,
    pub(crate) backoff: Backoff,
}

/// A running tree.
pub(crate) struct Topology {
    tree: Tree,
    ring: Ring,
}

impl Topology {
    /// Starts every actor; the learner goes to work at once.
    pub(crate) async fn start(parts: Parts) -> Result<Self, StartError> {
        let seed = Stream::new(parts.plan.seed).fork(u64::from_le_bytes(*b"restarts"));
        let events = parts.instruments.events.clone();
        let ring = Ring::default();
        let tree = Tree::start(ring.root(Arc::new(parts), Arc::new(PolicySlot::default())), events, seed).await?;
        Ok(Self { tree, ring })
    }

    /// Asks the learner to save and end the run. It may be between two incarnations, so somebody knocks until it is there.
    pub(crate) fn interrupt(&self, patience: Duration) {
        let learner = self.ring.learner();
        // A learner that stays away for so long has given up; the tree says so itself.
        tokio::spawn(async move { drop(learner.post(LearnerMsg::Interrupt, patience).await) });
    }

    /// Resolves if the tree gives up.
    pub(crate) async fn ended(&mut self) -> Result<(), GaveUp> {
        self.tree.ended().await
    }

    /// Stops every actor, last started first.
    pub(crate) async fn shutdown(self) -> Vec<Stopped> {
        self.tree.shutdown().await
    }
}

/// A supervisor with the run's limits.
fn supervisor(
    handle: &SupervisorHandle,
    strategy: stateset_supervisors::Strategy,
    limits: &Limits,
    children: Vec<stateset_supervisors::ChildSpec>,
) -> SupervisorSpec {
    SupervisorSpec {
        intensity: limits.intensity,
        backoff: limits.backoff,
        ..SupervisorSpec::new(handle, strategy, children)
    }
}
