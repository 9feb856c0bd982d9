//! What a run's file says, laid over the standard topology.

use std::collections::BTreeMap;

use crate::config::{ActorNode, SupervisorNode, Topology};

/// Today's tree, in the words in which anybody would write one.
const STANDARD: &str = include_str!("standard.yaml");

/// Every supervisor and actor that is described anywhere, whether it is used or not.
pub(super) struct Described {
    pub(super) supervisors: BTreeMap<String, SupervisorNode>,
    pub(super) actors: BTreeMap<String, ActorNode>,
}

fn standard() -> Topology {
    serde_saphyr::from_str(STANDARD).expect("a test reads the standard topology")
}

impl Described {
    pub(super) fn by(written: &Topology) -> Self {
        let Topology { mut supervisors, mut actors, .. } = standard();
        for (name, node) in &written.supervisors {
            let standard = supervisors.remove(name).unwrap_or_default();
            supervisors.insert(name.clone(), supervisor(node, standard));
        }
        for (name, node) in &written.actors {
            let standard = actors.remove(name).unwrap_or_default();
            actors.insert(name.clone(), actor(node, standard));
        }
        Self { supervisors, actors }
    }
}

fn supervisor(written: &SupervisorNode, standard: SupervisorNode) -> SupervisorNode {
    let SupervisorNode { strategy, intensity, backoff, on_exceeded, cool_off, auto_shutdown, children } =
        written.clone();
    SupervisorNode {
        strategy: strategy.or(standard.strategy),
        intensity: intensity.or(standard.intensity),
        backoff: backoff.or(standard.backoff),
        on_exceeded: on_exceeded.or(standard.on_exceeded),
        cool_off: cool_off.or(standard.cool_off),
        auto_shutdown: auto_shutdown.or(standard.auto_shutdown),
        children: children.or(standard.children),
    }
}

fn actor(written: &ActorNode, mut standard: ActorNode) -> ActorNode {
    let ActorNode { kind, pool, restart, intensity, significant, shutdown, to, params } = written.clone();
    standard.to.extend(to);
    standard.params.extend(params);
    ActorNode {
        kind: kind.or(standard.kind),
        pool: pool.or(standard.pool),
        restart: restart.or(standard.restart),
        intensity: intensity.or(standard.intensity),
        significant: significant.or(standard.significant),
        shutdown: shutdown.or(standard.shutdown),
        ..standard
    }
}
