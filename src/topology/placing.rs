//! Whether an actor can be what it is said to be, where it is.

use std::collections::BTreeMap;

use super::blueprint::{Branch, Child, Placed};
use super::kind::{Kind, Kinds, Number};
use crate::config::{ActorNode, Problem, nearest, quoted};

/// More than this in a pool is a slip of the hand.
const MOST: usize = 1024;

fn key(id: &str, field: &str) -> String {
    format!("topology.actors.{id}.{field}")
}

/// The actor's kind.
pub(super) fn kind<'a>(id: &str, node: &ActorNode, kinds: &'a Kinds, problems: &mut Vec<Problem>) -> Option<&'a Kind> {
    let name = node.kind.as_deref().unwrap_or(id);
    let kind = kinds.get(name);
    if kind.is_none() {
        let names = kinds.names();
        let problem = Problem::new(key(id, "kind"), format!("`{id}` is of an unknown kind `{name}`"));
        let problem = problem.allowed(quoted(&names));
        problems.push(match nearest(name, names.iter().copied()) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help("a kind of one's own is registered in Rust, before the configuration is read"),
        });
    }
    kind
}

/// What an actor is told beyond what its kind understands.
pub(super) fn check(id: &str, node: &ActorNode, kind: &Kind, problems: &mut Vec<Problem>) {
    if kind.passing {
        let told =
            [("pool", node.pool.is_some()), ("restart", node.restart.is_some()), ("shutdown", node.shutdown.is_some())];
        for (field, _) in told.into_iter().filter(|(_, is_told)| *is_told) {
            let message = format!("`{id}` cannot have `{field}`: a {} comes and goes with its episode", kind.name);
            problems.push(Problem::new(key(id, field), message));
        }
        return;
    }
    if let Some(pool) = node.pool {
        if !kind.pooled {
            let message = format!("`{id}` cannot be a pool: there is only ever one {}", kind.name);
            problems.push(Problem::new(key(id, "pool"), message));
        } else if !(1..=MOST).contains(&pool.size) {
            let problem = Problem::new(key(id, "pool.size"), format!("the pool `{id}` has {} members", pool.size));
            problems.push(problem.allowed(format!("1 to {MOST}")));
        }
    }
    if let Some(kill) = node.shutdown.as_ref().map(|shutdown| shutdown.kill)
        && kill.is_zero()
    {
        let problem = Problem::new(key(id, "shutdown.kill"), format!("`{id}` has no time to be gone once killed"));
        problems.push(problem.allowed("above 0"));
    }
    let unread = match kind.reads {
        Some(reads) => reads(&node.params).err(),
        None if node.params.is_empty() => None,
        None => Some(format!("the kind `{}` asks for none", kind.name)),
    };
    if let Some(cause) = unread {
        problems.push(Problem::new(key(id, "params"), format!("the parameters of `{id}`: {cause}")));
    }
}

/// Whether an end that is significant is so to somebody, and can be one.
pub(super) fn significance(branch: &Branch, actors: &BTreeMap<String, Placed>, problems: &mut Vec<Problem>) {
    for child in &branch.children {
        match child {
            Child::Supervisor(below) => significance(below, actors, problems),
            Child::Actor(id) => {
                let admitted = actors.get(id).map(|it| branch.auto_shutdown.admit(it.restart, it.significant));
                if let Some(Err(why)) = admitted {
                    let problem = Problem::new(key(id, "significant"), format!("`{id}` cannot be significant: {why}"));
                    problems.push(problem.help(format!(
                        "`{id}` may be `restart: transient`, and `{}` have an `auto_shutdown`",
                        branch.name
                    )));
                }
            }
        }
    }
}

/// Whether there are as many of each kind as a run needs.
pub(super) fn count(actors: &BTreeMap<String, Placed>, kinds: &Kinds, problems: &mut Vec<Problem>) {
    for kind in kinds.iter() {
        let named: Vec<&str> =
            actors.values().filter(|placed| placed.kind == kind.name).map(|placed| placed.id.as_str()).collect();
        match (kind.number, named.as_slice()) {
            (Number::Any, _) | (Number::One | Number::AtMostOne, [_]) | (Number::AtMostOne, []) => {}
            (Number::One, []) => {
                let problem = Problem::new("topology.supervisors", format!("there is no {} in the tree", kind.name));
                problems.push(problem.help(format!("list an actor of kind `{}` as a supervisor's child", kind.name)));
            }
            (Number::One | Number::AtMostOne, [_, second, ..]) => {
                let problem = Problem::new(
                    key(second, "kind"),
                    format!("there is more than one {}: {}", kind.name, quoted(&named)),
                );
                problems.push(if kind.pooled {
                    problem.help("several in the place of one are a `pool`")
                } else {
                    problem
                });
            }
        }
    }
}
