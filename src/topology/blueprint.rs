//! A topology that makes sense: what is described, resolved against the kinds there are, or everything that is wrong with it.
//!
//! Only a whole blueprint is ever built or drawn. So whoever has one need not ask whether a name exists, a wire fits, or an actor has two
//! parents.

use std::collections::BTreeMap;

use stateset_supervisors::{AutoShutdown, Backoff, Budgets, Excess, Intensity, Restart, Strategy};

use super::builtin::LEARNER;
use super::described::Described;
use super::kind::Kinds;
use super::{placing, tree, wiring};
use crate::config::{ActorDefaults, AutoShutdownName, Config, Params, Problem, RestartWhen, Shutdown, StrategyName};

/// A topology that can be built.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Blueprint {
    pub(crate) root: Branch,
    /// Every actor in the tree, by name.
    pub(crate) actors: BTreeMap<String, Placed>,
}

/// A supervisor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Branch {
    pub(crate) name: String,
    pub(crate) strategy: Strategy,
    pub(crate) intensity: Intensity,
    pub(crate) backoff: Backoff,
    pub(crate) excess: Excess,
    pub(crate) auto_shutdown: AutoShutdown,
    /// In start order.
    pub(crate) children: Vec<Child>,
}

/// A supervisor's child.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Child {
    Supervisor(Branch),
    /// By name.
    Actor(String),
}

/// An actor in its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Placed {
    pub(crate) id: String,
    pub(crate) kind: String,
    /// As how many it runs, if it is a pool.
    pub(crate) pool: Option<usize>,
    pub(crate) restart: Restart,
    /// What is too often for this one alone.
    pub(crate) intensity: Option<Intensity>,
    pub(crate) significant: bool,
    pub(crate) budgets: Budgets,
    pub(crate) params: Params,
    /// Who is behind each of its ports; `None` if nobody has to be, and nobody is.
    pub(crate) to: BTreeMap<String, Option<String>>,
}

impl Blueprint {
    /// What `config` describes.
    ///
    /// # Errors
    /// Every problem, each at its key.
    pub(crate) fn of(config: &Config, kinds: &Kinds) -> Result<Self, Vec<Problem>> {
        let described = Described::by(&config.topology);
        let mut problems = Vec::new();
        let (root, placed) = tree::grow(config, &described, &mut problems);
        let mut actors = BTreeMap::new();
        for id in placed {
            let node = &described.actors[&id];
            if let Some(kind) = placing::kind(&id, node, kinds, &mut problems) {
                placing::check(&id, node, kind, &mut problems);
                actors.insert(id.clone(), Placed::new(id, node, &kind.name, &config.topology.defaults));
            }
        }
        placing::significance(&root, &actors, &mut problems);
        placing::count(&actors, kinds, &mut problems);
        wiring::connect(&mut actors, &described.actors, kinds, &mut problems);
        if problems.is_empty() { Ok(Self { root, actors }) } else { Err(problems) }
    }

    /// The name of an actor of this kind, if there is one.
    pub(crate) fn named(&self, kind: &str) -> Option<String> {
        self.actors.values().find(|placed| placed.kind == kind).map(|placed| placed.id.clone())
    }

    /// The one learner.
    pub(crate) fn learner(&self) -> &Placed {
        self.actors
            .values()
            .find(|placed| placed.kind == LEARNER)
            .expect("a blueprint has one of each kind that is needed")
    }
}

impl Placed {
    fn new(id: String, node: &crate::config::ActorNode, kind: &str, defaults: &ActorDefaults) -> Self {
        let Shutdown { drain, stop, kill } = node.shutdown.as_ref().unwrap_or(&defaults.shutdown).clone();
        Self {
            id,
            kind: kind.to_owned(),
            pool: node.pool.map(|pool| pool.size),
            restart: node.restart.unwrap_or(defaults.restart).into(),
            intensity: node.intensity.as_ref().map(|it| Intensity { max_restarts: it.max, within: it.within }),
            significant: node.significant.unwrap_or(false),
            budgets: Budgets { drain, stop, kill, ..Budgets::default() },
            params: node.params.clone(),
            to: BTreeMap::new(),
        }
    }
}

impl From<RestartWhen> for Restart {
    fn from(when: RestartWhen) -> Self {
        match when {
            RestartWhen::Permanent => Self::Permanent,
            RestartWhen::Transient => Self::Transient,
            RestartWhen::Temporary => Self::Temporary,
        }
    }
}

impl From<StrategyName> for Strategy {
    fn from(name: StrategyName) -> Self {
        match name {
            StrategyName::OneForOne => Self::OneForOne,
            StrategyName::OneForAll => Self::OneForAll,
            StrategyName::RestForOne => Self::RestForOne,
        }
    }
}

impl From<AutoShutdownName> for AutoShutdown {
    fn from(name: AutoShutdownName) -> Self {
        match name {
            AutoShutdownName::Never => Self::Never,
            AutoShutdownName::AnySignificant => Self::AnySignificant,
            AutoShutdownName::AllSignificant => Self::AllSignificant,
        }
    }
}
