//! From a blueprint to a tree that can be started.

use std::collections::BTreeMap;
use std::sync::Arc;

use stateset_actors::protocol::{LearnerMsg, Port};
use stateset_supervisors::{AutoShutdown, ChildSpec, Restart, SupervisorHandle, SupervisorSpec};

use super::Common;
use super::blueprint::{Blueprint, Branch, Child};
use super::kind::Kinds;
use super::seat::{Fill, Opened, SeatError};
use super::seats::Seats;

/// A tree that can be started.
pub(super) struct Built {
    pub(super) root: SupervisorSpec,
    pub(super) learner: Port<LearnerMsg>,
    pub(super) seats: Seats,
}

/// Builds what `blueprint` shows.
pub(super) fn build(blueprint: &Blueprint, kinds: &Kinds, common: Arc<Common>) -> Result<Built, SeatError> {
    let (mut addresses, mut fills) = (BTreeMap::new(), BTreeMap::new());
    for (id, placed) in &blueprint.actors {
        let kind = kinds.get(&placed.kind).expect("a blueprint names kinds that there are");
        let Opened { address, fill } = (kind.open)();
        addresses.insert(id.clone(), address);
        fills.insert(id.as_str(), fill);
    }
    let learner = addresses[&blueprint.learner().id].way().expect("a learner takes a learner's messages");
    let seats = Seats { addresses, common, sitting: BTreeMap::new() };
    let mut building = Building { blueprint, seats, fills };
    let root = building.branch(&blueprint.root)?;
    Ok(Built { root, learner, seats: building.seats })
}

struct Building<'a> {
    blueprint: &'a Blueprint,
    seats: Seats,
    fills: BTreeMap<&'a str, Fill>,
}

impl Building<'_> {
    fn branch(&mut self, branch: &Branch) -> Result<SupervisorSpec, SeatError> {
        let handle = SupervisorHandle::new(&branch.name);
        let mut children = Vec::new();
        for child in &branch.children {
            match child {
                Child::Supervisor(below) => {
                    children.push(ChildSpec::supervisor(restart(below), self.branch(below)?));
                }
                Child::Actor(id) => {
                    let fill = self.fills.remove(id.as_str()).expect("a blueprint has everybody once");
                    children.extend(self.seats.fill(&self.blueprint.actors[id], branch, &handle, fill)?);
                }
            }
        }
        let Branch { strategy, intensity, backoff, excess, auto_shutdown, .. } = *branch;
        Ok(SupervisorSpec { handle, strategy, intensity, backoff, excess, auto_shutdown, children })
    }
}

/// A supervisor that may end for good is not started again when it does.
fn restart(branch: &Branch) -> Restart {
    match branch.auto_shutdown {
        AutoShutdown::Never => Restart::Permanent,
        AutoShutdown::AnySignificant | AutoShutdown::AllSignificant => Restart::Transient,
    }
}
