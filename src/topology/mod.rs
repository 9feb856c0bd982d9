//! From a configuration to actors: who supervises whom, and who can reach whom.
//!
//! A topology is data. What a run's file [describes](described), laid over the standard topology, is resolved against the
//! [kinds](kind) of actors there are into a [blueprint], with everything that is wrong told at once; and only a whole blueprint is
//! drawn or built.

mod blueprint;
mod build;
mod builtin;
mod current;
mod described;
mod interrupt;
mod kind;
mod placing;
mod pool;
mod reload;
mod seat;
mod seats;
mod tree;
mod wiring;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use anyhow::Context;
use stateset_actors::policy::{Plan, Policies};
use stateset_actors::protocol::{Instruments, LearnerMsg, Observer, PolicySlot, Port};
use stateset_actors::{EngineFactory, JournalFactory, LearnerFactory, ModelJudge, Restarter, StoreFactory};
use stateset_chat::ChatFormat;
use stateset_domain::Stream;
use stateset_environments::Environment;
use stateset_faults::Injector;
use stateset_rewards::Reward;
use stateset_supervisors::{GaveUp, Stopped, Tree, View};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

pub(crate) use blueprint::{Blueprint, Branch, Child};
use build::Built;
pub(crate) use current::Current;
use interrupt::interrupt;
pub use kind::{Kind, Kinds};
pub use reload::ReloadRefused;
pub use seat::{Seat, SeatError};
use seats::Seats;

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
    pub(crate) restart: Restarter,
    /// What is to go wrong on the way between two actors.
    pub(crate) injector: Option<Arc<Injector>>,
}

/// What is made once, and shared by all actors and all their incarnations.
pub(crate) struct Common {
    parts: Parts,
    current: Current,
    slot: Arc<PolicySlot>,
    permits: Arc<Semaphore>,
}

/// A running tree.
pub(crate) struct Topology {
    tree: Tree,
    learner: Port<LearnerMsg>,
    current: Current,
    permits: Arc<Semaphore>,
    seats: Seats,
    /// Asks the learner to end, once somebody wants it to.
    interrupting: Option<JoinHandle<()>>,
}

impl Topology {
    /// Starts every actor; the learner goes to work at once.
    pub(crate) async fn start(parts: Parts, current: Current, kinds: &Kinds) -> anyhow::Result<Self> {
        let seed = Stream::new(parts.plan.seed).fork(u64::from_le_bytes(*b"restarts"));
        let events = parts.instruments.events.clone();
        let standing = current.now();
        let permits = Arc::new(Semaphore::new(standing.config.supervision.max_live_episodes));
        let common = Common { parts, current: current.clone(), slot: Arc::default(), permits: permits.clone() };
        let Built { root, learner, seats } = build::build(&standing.blueprint, kinds, Arc::new(common))?;
        let tree = Tree::start(root, events, seed).await.context("cannot start the actors")?;
        Ok(Self { tree, learner, current, permits, seats, interrupting: None })
    }

    /// Asks the learner to save and end the run.
    pub(crate) fn interrupt(&mut self) {
        self.interrupting.get_or_insert_with(|| tokio::spawn(interrupt(self.learner.clone())));
    }

    /// A way to look at the actors.
    pub(crate) fn view(&self) -> View {
        self.tree.view()
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
