//! Who is whose child: one tree, in which everybody has one parent.

use std::collections::{BTreeMap, BTreeSet};

use stateset_supervisors::{AutoShutdown, Backoff, Excess, Intensity, Strategy};

use super::blueprint::{Branch, Child};
use super::described::Described;
use crate::config::{Config, OnExceeded, Problem, Restarts, SupervisorNode, nearest, quoted};

/// The supervisor that has no parent.
pub(super) const ROOT: &str = "root";

/// The tree below the root, and every actor in it.
pub(super) fn grow(config: &Config, described: &Described, problems: &mut Vec<Problem>) -> (Branch, Vec<String>) {
    let mut growing =
        Growing { config, described, problems, parents: BTreeMap::new(), path: Vec::new(), actors: Vec::new() };
    growing.names();
    let root = growing.branch(ROOT);
    let left_over = growing.left_over();
    growing.problems.extend(left_over);
    (root, growing.actors)
}

struct Growing<'a> {
    config: &'a Config,
    described: &'a Described,
    problems: &'a mut Vec<Problem>,
    /// Everybody's parent.
    parents: BTreeMap<String, String>,
    /// From the root to where we are.
    path: Vec<String>,
    actors: Vec<String>,
}

impl Growing<'_> {
    fn names(&mut self) {
        let Described { supervisors, actors } = self.described;
        let named = supervisors.keys().map(|name| ("supervisors", name));
        for (section, name) in named.chain(actors.keys().map(|name| ("actors", name))) {
            if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || "-_".contains(c)) {
                let key = format!("topology.{section}.{name}");
                let problem = Problem::new(key, format!("nobody can be called `{name}`"));
                self.problems.push(problem.allowed("letters, digits, `-` and `_`"));
            }
        }
    }

    fn branch(&mut self, name: &str) -> Branch {
        let node = &self.described.supervisors[name];
        self.path.push(name.to_owned());
        let supervision = &self.config.supervision;
        let Restarts { max, within } = *node.intensity.as_ref().unwrap_or(&supervision.restarts);
        let backoff = node.backoff.as_ref().unwrap_or(&supervision.backoff);
        let listed = node.children.as_deref().unwrap_or_default();
        if listed.is_empty() {
            let key = format!("topology.supervisors.{name}.children");
            self.problems.push(Problem::new(key, format!("supervisor `{name}` has no children")));
        }
        let cool_off = node.cool_off.unwrap_or_default().0;
        if cool_off.is_zero() {
            let key = format!("topology.supervisors.{name}.cool_off");
            self.problems.push(Problem::new(key, format!("`{name}` leaves nobody alone for 0 s")).allowed("above 0"));
        }
        let children = listed.iter().enumerate().filter_map(|(at, child)| self.child(name, at, child)).collect();
        self.path.pop();
        Branch {
            name: name.to_owned(),
            strategy: node.strategy.map_or(Strategy::OneForOne, Strategy::from),
            intensity: Intensity { max_restarts: max, within },
            backoff: Backoff { first: backoff.min, cap: backoff.max, reset_after: within },
            excess: match node.on_exceeded {
                None | Some(OnExceeded::Escalate) => Excess::GiveUp,
                Some(OnExceeded::Quarantine) => Excess::Quarantine { cool_off },
                Some(OnExceeded::Degrade) => Excess::Degrade,
            },
            auto_shutdown: node.auto_shutdown.map_or(AutoShutdown::Never, AutoShutdown::from),
            children,
        }
    }

    fn child(&mut self, parent: &str, at: usize, name: &str) -> Option<Child> {
        let Described { supervisors, actors } = self.described;
        let key = format!("topology.supervisors.{parent}.children.{at}");
        if let Some(from) = self.path.iter().position(|above| above == name) {
            let circle = self.path[from..].iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(" -> ");
            self.problems.push(Problem::new(key, format!("a supervisor cannot be below itself: {circle}")));
            return None;
        }
        let (is_supervisor, is_actor) = (supervisors.contains_key(name), actors.contains_key(name));
        if let Some(other) = self.parents.insert(name.to_owned(), parent.to_owned()) {
            let twice = if other == parent {
                format!("twice in `{parent}`")
            } else {
                format!("in `{other}` and in `{parent}`")
            };
            self.problems.push(Problem::new(key, format!("`{name}` has one parent, but is listed {twice}")));
            return None;
        }
        match (is_supervisor, is_actor) {
            (true, false) => Some(Child::Supervisor(self.branch(name))),
            (false, true) => {
                self.actors.push(name.to_owned());
                Some(Child::Actor(name.to_owned()))
            }
            (true, true) => {
                self.problems.push(Problem::new(key, format!("`{name}` is both a supervisor and an actor")));
                None
            }
            (false, false) => {
                let known: Vec<&str> = supervisors.keys().chain(actors.keys()).map(String::as_str).collect();
                let problem = Problem::new(key, format!("`{parent}` has an unknown child `{name}`"));
                self.problems.push(match nearest(name, known.iter().copied()) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem.allowed(quoted(&known)).help(format!("describe it: `topology.actors.{name}.kind`")),
                });
                None
            }
        }
    }

    /// Whoever was written down but is not in the tree. A circle of supervisors is told once, and nobody is told whose parent is told.
    fn left_over(&self) -> Vec<Problem> {
        let written = &self.config.topology;
        let (mut problems, mut told) = (Vec::new(), BTreeSet::new());
        let names = written.supervisors.keys().map(|name| ("supervisors", name));
        let names = names.chain(written.actors.keys().map(|name| ("actors", name)));
        for (section, name) in names.filter(|(_, name)| *name != ROOT && !self.parents.contains_key(*name)) {
            match self.above(name).as_slice() {
                [_] => {
                    let key = format!("topology.{section}.{name}");
                    let problem = Problem::new(key, format!("`{name}` has no parent: no supervisor lists it"));
                    problems.push(problem.help("name it in the `children` of a supervisor"));
                }
                [chain @ .., last] => {
                    let Some(from) = chain.iter().position(|below| below == last) else { continue };
                    let circle: BTreeSet<&str> = chain[from..].iter().copied().collect();
                    let names = quoted(&circle.into_iter().collect::<Vec<_>>());
                    if told.insert(names.clone()) {
                        let key = format!("topology.supervisors.{last}.children");
                        problems
                            .push(Problem::new(key, format!("supervisors in a circle, none below `root`: {names}")));
                    }
                }
                [] => {}
            }
        }
        problems
    }

    /// `name`, whoever lists it without being in the tree, whoever lists that, and so on: up to one whom nobody lists, or to one who was
    /// there before.
    fn above<'b>(&'b self, name: &'b str) -> Vec<&'b str> {
        let mut chain = vec![name];
        while let Some(above) = self.lister(chain[chain.len() - 1]) {
            let again = chain.contains(&above);
            chain.push(above);
            if again {
                break;
            }
        }
        chain
    }

    /// A supervisor that is not in the tree and lists `name`.
    fn lister(&self, name: &str) -> Option<&str> {
        let lists = |node: &SupervisorNode| node.children.iter().flatten().any(|child| child == name);
        let outside = |supervisor: &str| supervisor != ROOT && !self.parents.contains_key(supervisor);
        let mut supervisors = self.described.supervisors.iter();
        supervisors.find(|(it, node)| outside(it) && lists(node)).map(|(it, _)| it.as_str())
    }
}
