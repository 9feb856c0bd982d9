//! `stateset graph CONFIG`: the actors of a run, who restarts whom and who talks to whom, as Mermaid or for Graphviz.

use stateset_supervisors::Intensity;

use crate::config::{Config, Problem};
use crate::topology::{Blueprint, Branch, Child, Kinds};

/// What there is to draw, in whichever language.
struct Drawing {
    nodes: Vec<Node>,
    /// Supervisor and child, in start order.
    children: Vec<(String, String)>,
    /// Sender, receiver, and what is sent.
    messages: Vec<(String, String, &'static str)>,
}

struct Node {
    name: String,
    shape: Shape,
    /// The lines below its name.
    lines: Vec<String>,
}

#[derive(Clone, Copy)]
enum Shape {
    Supervisor,
    /// One, as long as the run goes on.
    Actor,
    /// Several, or some that come and go.
    Several,
}

/// The graph in Mermaid's language: solid lines supervise, dotted lines carry messages.
///
/// # Errors
/// Everything that is wrong with the topology.
pub fn mermaid(config: &Config, kinds: &Kinds) -> Result<String, Vec<Problem>> {
    let Drawing { nodes, children, messages } = Drawing::of(config, kinds)?;
    let node = |Node { name, shape, lines }: &Node| {
        let label = [std::slice::from_ref(name), lines].concat().join("<br/>");
        match shape {
            Shape::Supervisor => format!("  {name}{{{{\"{label}\"}}}}"),
            Shape::Actor => format!("  {name}[\"{label}\"]"),
            Shape::Several => format!("  {name}([\"{label}\"])"),
        }
    };
    let child = |(above, below): &(String, String)| format!("  {above} --> {below}");
    let message = |(from, to, what): &(String, String, &str)| format!("  {from} -. \"{what}\" .-> {to}");
    let lines = nodes.iter().map(node).chain(children.iter().map(child)).chain(messages.iter().map(message));
    Ok(std::iter::once("flowchart TB".to_owned()).chain(lines).map(|line| line + "\n").collect())
}

/// The graph in Graphviz' language.
///
/// # Errors
/// Everything that is wrong with the topology.
pub fn dot(config: &Config, kinds: &Kinds) -> Result<String, Vec<Problem>> {
    let Drawing { nodes, children, messages } = Drawing::of(config, kinds)?;
    let node = |Node { name, shape, lines }: &Node| {
        let label = [std::slice::from_ref(name), lines].concat().join("\\n");
        let shape = match shape {
            Shape::Supervisor => "shape=hexagon",
            Shape::Actor => "shape=box",
            Shape::Several => "shape=box, style=rounded",
        };
        format!("  \"{name}\" [{shape}, label=\"{label}\"];")
    };
    let child = |(above, below): &(String, String)| format!("  \"{above}\" -> \"{below}\";");
    let message = |(from, to, what): &(String, String, &str)| {
        format!("  \"{from}\" -> \"{to}\" [style=dotted, constraint=false, label=\"{what}\"];")
    };
    let lines = nodes.iter().map(node).chain(children.iter().map(child)).chain(messages.iter().map(message));
    let framed = std::iter::once("digraph run {".to_owned()).chain(lines).chain(["}".to_owned()]);
    Ok(framed.map(|line| line + "\n").collect())
}

impl Drawing {
    fn of(config: &Config, kinds: &Kinds) -> Result<Self, Vec<Problem>> {
        let blueprint = Blueprint::of(config, kinds)?;
        let mut drawing = Self { nodes: Vec::new(), children: Vec::new(), messages: Vec::new() };
        drawing.branch(&blueprint.root, &blueprint, kinds, config.supervision.max_live_episodes);
        Ok(drawing)
    }

    fn branch(&mut self, branch: &Branch, blueprint: &Blueprint, kinds: &Kinds, most_live: usize) {
        let Intensity { max_restarts, within } = branch.intensity;
        let lines =
            vec![branch.strategy.name().to_owned(), format!("{max_restarts} restarts in {} s", within.as_secs_f64())];
        self.nodes.push(Node { name: branch.name.clone(), shape: Shape::Supervisor, lines });
        for child in &branch.children {
            match child {
                Child::Supervisor(below) => {
                    self.children.push((branch.name.clone(), below.name.clone()));
                    self.branch(below, blueprint, kinds, most_live);
                }
                Child::Actor(id) => {
                    self.children.push((branch.name.clone(), id.clone()));
                    self.actor(id, blueprint, kinds, most_live);
                }
            }
        }
    }

    fn actor(&mut self, id: &str, blueprint: &Blueprint, kinds: &Kinds, most_live: usize) {
        let placed = &blueprint.actors[id];
        let kind = kinds.get(&placed.kind).expect("a blueprint names kinds that there are");
        let unnamed = id == kind.name || kind.passing;
        let mut lines: Vec<String> = (!unnamed).then(|| kind.name.clone()).into_iter().collect();
        let several = match placed.pool {
            Some(size) => Some(format!("a pool of {size}")),
            None => kind.passing.then(|| format!("temporary, up to {most_live}")),
        };
        let shape = if several.is_some() { Shape::Several } else { Shape::Actor };
        lines.extend(several);
        self.nodes.push(Node { name: id.to_owned(), shape, lines });
        for port in &kind.ports {
            if let Some(Some(target)) = placed.to.get(port.name) {
                self.messages.push((id.to_owned(), target.clone(), port.carries));
            }
        }
        if let Some(what) = kind.settles {
            self.messages.push((id.to_owned(), blueprint.learner().id.clone(), what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ActorNode, Pool};

    #[test]
    fn the_graph_shows_what_is_configured() {
        let mut config = Config::default();
        config.supervision.max_live_episodes = 17;
        let judge = ActorNode { pool: Some(Pool { size: 3 }), ..ActorNode::default() };
        config.topology.actors.insert("judge".into(), judge);
        let drawn = mermaid(&config, &Kinds::default()).unwrap();
        assert!(drawn.starts_with("flowchart TB\n  root{{\"root<br/>rest_for_one<br/>5 restarts in 60 s\"}}\n"));
        assert!(drawn.contains("conversations([\"conversations<br/>temporary, up to 17\"])"));
        assert!(drawn.contains("judge([\"judge<br/>a pool of 3\"])"));
        assert!(drawn.contains("  judge -. \"scored trajectory\" .-> learner\n"));
        let drawn = dot(&config, &Kinds::default()).unwrap();
        assert!(drawn.contains("\"rollouts\" -> \"conversations\";") && drawn.ends_with("}\n"));
    }
}
