//! `stateset graph CONFIG`: the actors of a run, who restarts whom and who talks to whom, as Mermaid or for Graphviz.

use crate::config::{Config, Supervision};

/// A supervisor and its children, in start order.
struct Line {
    name: &'static str,
    strategy: &'static str,
    children: &'static [&'static str],
}

const ROOT: &str = "root";
const ROOT_STRATEGY: &str = "rest_for_one";

/// The root's supervisors, in start order.
const LINES: [Line; 5] = [
    Line { name: "persistence", strategy: "one_for_one", children: &["checkpointer"] },
    Line { name: "learning", strategy: "rest_for_one", children: &["learner"] },
    Line { name: "serving-line", strategy: "one_for_one", children: &["inference"] },
    Line { name: "rollouts", strategy: "one_for_one", children: &["judge", "environment", CONVERSATIONS] },
    Line { name: "watch", strategy: "one_for_one", children: &["health_monitor"] },
];

/// Started one by one as episodes begin.
const CONVERSATIONS: &str = "conversations";

/// Sender, receiver, and what is sent.
const MESSAGES: [(&str, &str, &str); 9] = [
    ("learner", "environment", "episode tickets"),
    ("environment", CONVERSATIONS, "scenario"),
    (CONVERSATIONS, "inference", "tokens, for a reply"),
    (CONVERSATIONS, "environment", "reply, for what is said next"),
    (CONVERSATIONS, "judge", "trajectory"),
    ("judge", "learner", "scored trajectory"),
    ("learner", "inference", "policy snapshot"),
    ("learner", "checkpointer", "checkpoint"),
    ("learner", "health_monitor", "step metrics"),
];

/// The graph in Mermaid's language: solid lines supervise, dotted lines carry messages.
#[must_use]
pub fn mermaid(config: &Config) -> String {
    let supervisor = |name: &str, strategy: &str| {
        format!("  {name}{{{{\"{name}<br/>{strategy}<br/>{}\"}}}}", patience(&config.supervision))
    };
    let actor = |name: &str| match limit(name, &config.supervision) {
        Some(limit) => format!("  {name}([\"{name}<br/>{limit}\"])"),
        None => format!("  {name}[\"{name}\"]"),
    };
    let mut lines = vec!["flowchart TB".to_owned(), supervisor(ROOT, ROOT_STRATEGY)];
    for line in &LINES {
        lines.push(supervisor(line.name, line.strategy));
        lines.push(format!("  {ROOT} --> {}", line.name));
        for child in line.children {
            lines.push(actor(child));
            lines.push(format!("  {} --> {child}", line.name));
        }
    }
    lines.extend(MESSAGES.iter().map(|(from, to, what)| format!("  {from} -. \"{what}\" .-> {to}")));
    lines.join("\n") + "\n"
}

/// The graph in Graphviz' language.
#[must_use]
pub fn dot(config: &Config) -> String {
    let supervisor = |name: &str, strategy: &str| {
        format!("  \"{name}\" [shape=hexagon, label=\"{name}\\n{strategy}\\n{}\"];", patience(&config.supervision))
    };
    let actor = |name: &str| match limit(name, &config.supervision) {
        Some(limit) => format!("  \"{name}\" [shape=box, style=rounded, label=\"{name}\\n{limit}\"];"),
        None => format!("  \"{name}\" [shape=box];"),
    };
    let mut lines = vec!["digraph run {".to_owned(), supervisor(ROOT, ROOT_STRATEGY)];
    for line in &LINES {
        lines.push(supervisor(line.name, line.strategy));
        lines.push(format!("  \"{ROOT}\" -> \"{}\";", line.name));
        for child in line.children {
            lines.push(actor(child));
            lines.push(format!("  \"{}\" -> \"{child}\";", line.name));
        }
    }
    let message = |(from, to, what): &(&str, &str, &str)| {
        format!("  \"{from}\" -> \"{to}\" [style=dotted, constraint=false, label=\"{what}\"];")
    };
    lines.extend(MESSAGES.iter().map(message));
    lines.push("}".to_owned());
    lines.join("\n") + "\n"
}

/// How many restarts a supervisor puts up with.
fn patience(supervision: &Supervision) -> String {
    let restarts = &supervision.restarts;
    format!("{} restarts in {} s", restarts.max, restarts.within.as_secs_f64())
}

/// How many of an actor there may be, if there is more than one.
fn limit(actor: &str, supervision: &Supervision) -> Option<String> {
    (actor == CONVERSATIONS).then(|| format!("temporary, up to {}", supervision.max_live_episodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_talks_is_supervised() {
        let actors: Vec<&str> = LINES.iter().flat_map(|line| line.children).copied().collect();
        for (from, to, _) in MESSAGES {
            assert!(actors.contains(&from) && actors.contains(&to), "{from} -> {to}");
        }
    }

    #[test]
    fn the_graph_shows_what_is_configured() {
        let mut config = Config::default();
        config.supervision.max_live_episodes = 17;
        let drawn = mermaid(&config);
        assert!(drawn.starts_with("flowchart TB\n  root{{\"root<br/>rest_for_one<br/>5 restarts in 60 s\"}}\n"));
        assert!(drawn.contains("conversations([\"conversations<br/>temporary, up to 17\"])"));
        assert!(drawn.contains("  judge -. \"scored trajectory\" .-> learner\n"));
        assert!(dot(&config).contains("\"rollouts\" -> \"conversations\";") && dot(&config).ends_with("}\n"));
    }
}
