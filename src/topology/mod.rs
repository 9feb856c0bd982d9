//! From a configuration to actors: who supervises whom, and who can reach whom.
//!
//! A topology is data. What a run's file [describes](described), laid over the standard topology, is resolved against the
//! [kinds](kind) of actors there are into a [blueprint], with everything that is wrong told at once; and only a whole blueprint is
//! drawn or built.

mod blueprint;
mod build;
mod builtin;
mod described;
mod interrupt;
mod kind;
mod placing;
mod pool;
mod seat;
mod tree;
mod wiring;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use stateset_actors::policy::{Plan, Policies, Retries};
use stateset_actors::protocol::{Deadlines, Instruments, LearnerMsg, Observer, PolicySlot, Port};
use stateset_actors::{EngineFactory, JournalFactory, LearnerFactory, ModelJudge, StoreFactory};
use stateset_chat::ChatFormat;
use stateset_domain::Stream;
use stateset_environments::Environment;
use stateset_faults::Injector;
use stateset_rewards::Reward;
use stateset_supervisors::{GaveUp, Stopped, Tree};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

pub(crate) use blueprint::{Blueprint, Branch, Child};
use build::Built;
use interrupt::interrupt;
pub use kind::{Kind, Kinds};
pub use seat::{Seat, SeatError};

/// Everything that actors are made from.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) plan: Plan,
    pub(crate) policies: Arc<Policies>,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) reward: Arc<dyn Reward>,
    pub(crate) judge: Option<Arc<ModelJudge>>,
    pub(crate) format: ChatFormat,
    pub(crate) engine: EngineFactory,
    pub(crate) learner: LearnerFactory,
    pub(crate) store: StoreFactory,
    pub(crate) journal: JournalFactory,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) instruments: Instruments,
    pub(crate) limits: Limits,
    /// What is to go wrong on the way between two actors.
    pub(crate) injector: Option<Arc<Injector>>,
}

/// How much, how long, how often.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) max_context: usize,
    pub(crate) max_live_episodes: usize,
    pub(crate) retries: Retries,
    pub(crate) deadlines: Deadlines,
    pub(crate) stall: Duration,
}

/// What is made once, and shared by all actors and all their incarnations.
pub(crate) struct Common {
    parts: Parts,
    slot: Arc<PolicySlot>,
    permits: Arc<Semaphore>,
}

/// A running tree.
pub(crate) struct Topology {
    tree: Tree,
    learner: Port<LearnerMsg>,
    /// Asks the learner to end, once somebody wants it to.
    interrupting: Option<JoinHandle<()>>,
}

impl Topology {
    /// Starts every actor; the learner goes to work at once.
    pub(crate) async fn start(parts: Parts, blueprint: &Blueprint, kinds: &Kinds) -> anyhow::Result<Self> {
        let seed = Stream::new(parts.plan.seed).fork(u64::from_le_bytes(*b"restarts"));
        let events = parts.instruments.events.clone();
        let permits = Arc::new(Semaphore::new(parts.limits.max_live_episodes));
        let common = Arc::new(Common { parts, slot: Arc::default(), permits });
        let Built { root, learner } = build::build(blueprint, kinds, &common)?;
        let tree = Tree::start(root, events, seed).await.context("cannot start the actors")?;
        Ok(Self { tree, learner, interrupting: None })
    }

    /// Asks the learner to save and end the run.
    pub(crate) fn interrupt(&mut self) {
        self.interrupting.get_or_insert_with(|| tokio::spawn(interrupt(self.learner.clone())));
    }

    /// Resolves if the tree gives up.
    pub(crate) async fn ended(&mut self) -> Result<(), GaveUp> {
        self.tree.ended().await
    }

    /// Stops every actor, last started first.
    pub(crate) async fn shutdown(self) -> Vec<Stopped> {
        self.interrupting.iter().for_each(JoinHandle::abort);
        self.tree.shutdown().await
    }
}
