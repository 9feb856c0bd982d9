//! From a blueprint to a tree that can be started.

use std::collections::BTreeMap;
use std::sync::Arc;

use stateset_actors::protocol::{LearnerMsg, Port};
use stateset_supervisors::{ChildSpec, Restart, Strategy, SupervisorHandle, SupervisorSpec};

use super::Common;
use super::blueprint::{Blueprint, Branch, Child};
use super::kind::Kinds;
use super::seat::{Address, Fill, Opened, Place, SeatError};

/// A tree that can be started.
pub(super) struct Built {
    pub(super) root: SupervisorSpec,
    pub(super) learner: Port<LearnerMsg>,
}

/// Builds what `blueprint` shows.
pub(super) fn build(blueprint: &Blueprint, kinds: &Kinds, common: &Arc<Common>) -> Result<Built, SeatError> {
    let (mut addresses, mut fills) = (BTreeMap::new(), BTreeMap::new());
    for (id, placed) in &blueprint.actors {
        let kind = kinds.get(&placed.kind).expect("a blueprint names kinds that there are");
        let Opened { address, fill } = (kind.open)(placed);
        addresses.insert(id.clone(), address);
        fills.insert(id.as_str(), fill);
    }
    let learner = addresses[&blueprint.learner().id].way().expect("a learner takes a learner's messages");
    let root = Building { blueprint, common, addresses: &addresses, fills }.branch(&blueprint.root)?;
    Ok(Built { root, learner })
}

struct Building<'a> {
    blueprint: &'a Blueprint,
    common: &'a Arc<Common>,
    addresses: &'a BTreeMap<String, Address>,
    fills: BTreeMap<&'a str, Fill>,
}

impl Building<'_> {
    fn branch(&mut self, branch: &Branch) -> Result<SupervisorSpec, SeatError> {
        let handle = SupervisorHandle::new(&branch.name);
        let mut children = Vec::new();
        for child in &branch.children {
            match child {
                Child::Supervisor(below) => {
                    children.push(ChildSpec::supervisor(Restart::Permanent, self.branch(below)?))
                }
                Child::Actor(id) => children.extend(self.actor(id, branch, &handle)?),
            }
        }
        Ok(supervise(branch, &handle, branch.strategy, children))
    }

    /// An actor's children: itself, none if it comes and goes, or its pool with a supervisor of its own.
    fn actor(&mut self, id: &str, parent: &Branch, supervisor: &SupervisorHandle) -> Result<Vec<ChildSpec>, SeatError> {
        let Some(fill) = self.fills.remove(id) else { return Ok(Vec::new()) };
        let (placed, addresses, common) = (&self.blueprint.actors[id], self.addresses, self.common);
        let members = fill(&Place { placed, supervisor, addresses, common })?;
        if placed.pool.is_none() {
            return Ok(members);
        }
        let pool = supervise(parent, &SupervisorHandle::new(id), Strategy::OneForOne, members);
        Ok(vec![ChildSpec::supervisor(placed.restart, pool)])
    }
}

/// A supervisor with the patience of `branch`.
fn supervise(
    branch: &Branch,
    handle: &SupervisorHandle,
    strategy: Strategy,
    children: Vec<ChildSpec>,
) -> SupervisorSpec {
    let Branch { intensity, backoff, .. } = *branch;
    SupervisorSpec { intensity, backoff, ..SupervisorSpec::new(handle, strategy, children) }
}
