//! Who is behind whose port.
//!
//! A port leads where the file says, or else to the only actor that takes such messages: so most wires need not be written down, and a
//! second actor that could be meant has to be chosen or left.

use std::collections::BTreeMap;

use super::blueprint::Placed;
use super::kind::{Kinds, Manner, PortSpec};
use crate::config::{ActorNode, Problem, nearest, quoted};

/// Finds out who is behind every port.
pub(super) fn connect(
    actors: &mut BTreeMap<String, Placed>,
    nodes: &BTreeMap<String, ActorNode>,
    kinds: &Kinds,
    problems: &mut Vec<Problem>,
) {
    let mut wires = BTreeMap::new();
    for placed in actors.values() {
        let Some(kind) = kinds.get(&placed.kind) else { continue };
        let wiring = Wiring { actors, kinds, id: &placed.id, written: &nodes[&placed.id].to };
        wiring.unknown_ports(&kind.ports, problems);
        let to = kind.ports.iter().map(|port| (port.name.to_owned(), wiring.target(port, problems))).collect();
        wires.insert(placed.id.clone(), to);
    }
    for (id, to) in wires {
        actors.entry(id).and_modify(|placed| placed.to = to);
    }
    no_circle_of_calls(actors, kinds, problems);
}

struct Wiring<'a> {
    actors: &'a BTreeMap<String, Placed>,
    kinds: &'a Kinds,
    id: &'a str,
    written: &'a BTreeMap<String, String>,
}

impl Wiring<'_> {
    fn unknown_ports(&self, ports: &[PortSpec], problems: &mut Vec<Problem>) {
        let names: Vec<&str> = ports.iter().map(|port| port.name).collect();
        for name in self.written.keys().filter(|name| !names.contains(&name.as_str())) {
            let problem = Problem::new(self.key(name), format!("`{}` has no port `{name}`", self.id));
            problems.push(match nearest(name, names.iter().copied()) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None if names.is_empty() => problem.help("an actor of this kind reaches nobody"),
                None => problem.allowed(quoted(&names)),
            });
        }
    }

    fn target(&self, port: &PortSpec, problems: &mut Vec<Problem>) -> Option<String> {
        let fitting = self.fitting(port);
        let problem = match (self.written.get(port.name), fitting.as_slice()) {
            (Some(name), _) if fitting.contains(&name.as_str()) => return Some(name.clone()),
            (Some(name), _) => self.misled(port, name, &fitting),
            (None, [only]) => return Some((*only).to_owned()),
            (None, []) if port.manner == Manner::MaySend => return None,
            (None, []) => {
                let message = format!("nobody takes what `{}` sends through its port `{}`", self.id, port.name);
                Problem::new(self.key(port.name), message).help(format!("it sends `{}`", port.takes.name))
            }
            (None, [_, _, ..]) => {
                let message = format!("the port `{}` of `{}` could lead to several actors", port.name, self.id);
                let choice = quoted(&fitting);
                Problem::new(self.key(port.name), message)
                    .help(format!("say which in `{}`: {choice}", self.key(port.name)))
            }
        };
        problems.push(problem);
        None
    }

    /// Everybody else who takes what goes through `port`.
    fn fitting(&self, port: &PortSpec) -> Vec<&str> {
        let takes = |placed: &&Placed| self.kinds.get(&placed.kind).is_some_and(|kind| kind.takes == port.takes);
        self.actors.values().filter(takes).map(|placed| placed.id.as_str()).filter(|id| *id != self.id).collect()
    }

    fn misled(&self, port: &PortSpec, name: &str, fitting: &[&str]) -> Problem {
        let key = self.key(port.name);
        let taken = self.actors.get(name).and_then(|placed| self.kinds.get(&placed.kind)).map(|kind| kind.takes.name);
        let problem = match taken {
            _ if name == self.id => Problem::new(key, format!("the port `{}` of `{name}` leads to itself", port.name)),
            Some(taken) => {
                let sent = port.takes.name;
                Problem::new(key, format!("`{}` sends `{sent}` to `{name}`, which takes `{taken}`", self.id))
            }
            None => {
                let message =
                    format!("the port `{}` of `{}` leads to `{name}`, which is not in the tree", port.name, self.id);
                Problem::new(key, message)
            }
        };
        match nearest(name, fitting.iter().copied()) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None if fitting.is_empty() => problem.help(format!("nobody in the tree takes `{}`", port.takes.name)),
            None => problem.allowed(quoted(fitting)),
        }
    }

    fn key(&self, port: &str) -> String {
        format!("topology.actors.{}.to.{port}", self.id)
    }
}

/// Actors that wait for each other in a circle wait for ever.
fn no_circle_of_calls(actors: &BTreeMap<String, Placed>, kinds: &Kinds, problems: &mut Vec<Problem>) {
    let calls = |id: &str| -> Vec<(&'static str, &str)> {
        let Some((placed, kind)) = actors.get(id).and_then(|placed| Some((placed, kinds.get(&placed.kind)?))) else {
            return Vec::new();
        };
        let waits = kind.ports.iter().filter(|port| port.manner == Manner::Calls);
        waits.filter_map(|port| Some((port.name, placed.to.get(port.name)?.as_deref()?))).collect()
    };
    let mut settled: Vec<&str> = Vec::new();
    for start in actors.keys() {
        // Depth first; whoever is settled is in no circle, or in one that has been told.
        let mut path: Vec<(&str, Vec<(&'static str, &str)>)> = vec![(start, calls(start))];
        while let Some((id, open)) = path.last_mut() {
            let id: &str = id;
            let Some((port, target)) = open.pop() else {
                settled.push(id);
                path.pop();
                continue;
            };
            if let Some(from) = path.iter().position(|(above, _)| *above == target) {
                let circle: Vec<&str> = path[from..].iter().map(|(id, _)| *id).chain([target]).collect();
                let message = format!("actors wait for each other in a circle: {}", circle.join(" -> "));
                problems.push(Problem::new(format!("topology.actors.{id}.to.{port}"), message));
            } else if !settled.contains(&target) {
                path.push((target, calls(target)));
            }
        }
    }
}
