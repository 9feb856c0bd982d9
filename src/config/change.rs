//! What it takes to put a changed configuration into effect: for every key that differs, whether it can be changed while the run goes on.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::Config;
use super::fingerprint::is_incidental;
use super::node::Node;

/// A key whose value differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The key.
    pub key: String,
    /// Its value before.
    pub from: String,
    /// Its value after.
    pub to: String,
    /// What it takes.
    pub effect: Effect,
}

/// What it takes to put a change into effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing: it is read anew each time it is needed.
    Live,
    /// This actor is restarted.
    Restart(String),
    /// The run is ended and resumed.
    Resume,
    /// It determines the result: with another value it is another run.
    AnotherRun,
}

/// How a value that is not there is written.
const NOTHING: &str = "nothing";

/// Keys that are read anew each time they are needed.
const LIVE: [&str; 10] = [
    "logging.level",
    "supervision.max_live_episodes",
    "supervision.attempts",
    "supervision.deadlines.generate",
    "supervision.deadlines.environment",
    "supervision.deadlines.judge",
    "supervision.deadlines.load",
    "supervision.deadlines.save",
    "training.save_every",
    "training.eval_every",
];

/// Keys that an actor of this kind reads when it starts.
const AT_START: [(&str, &str); 2] =
    [("training.keep_checkpoints", "checkpointer"), ("supervision.deadlines.stall", "health_monitor")];

impl Effect {
    /// Whether it can be had without ending the run.
    #[must_use]
    pub fn is_applicable(&self) -> bool {
        matches!(self, Self::Live | Self::Restart(_))
    }

    fn of(key: &str, was_there: bool, name: impl Fn(&str) -> Option<String>) -> Self {
        let at_start = AT_START.iter().find(|(it, _)| *it == key).map(|(_, kind)| name(kind));
        let actor = key.strip_prefix("topology.actors.").and_then(|rest| rest.split_once('.'));
        match (at_start, actor) {
            _ if LIVE.contains(&key) => Self::Live,
            (Some(Some(actor)), _) => Self::Restart(actor),
            // Nobody is there to read it.
            (Some(None), _) => Self::Live,
            // A pool can be given another size; one actor and a pool are two arrangements.
            (None, Some((actor, "pool.size"))) if was_there => Self::Restart(actor.to_owned()),
            (None, Some((actor, field))) if field.starts_with("params.") => Self::Restart(actor.to_owned()),
            (None, _) if is_incidental(key) => Self::Resume,
            (None, _) => Self::AnotherRun,
        }
    }
}

impl Change {
    /// Every key in which `new` differs from `old`. `name` tells the name of the actor of a kind, if there is one.
    #[must_use]
    pub fn between(old: &Config, new: &Config, name: impl Fn(&str) -> Option<String>) -> Vec<Self> {
        let (old, new) = (leaves(old), leaves(new));
        let mut keys: Vec<&String> = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))).collect();
        keys.sort();
        let changes = keys.into_iter().map(|key| {
            let value = |leaves: &BTreeMap<String, String>| leaves.get(key).map_or(NOTHING, String::as_str).to_owned();
            let effect = Effect::of(key, old.contains_key(key) && new.contains_key(key), &name);
            Self { key: key.clone(), from: value(&old), to: value(&new), effect }
        });
        changes.filter(|change| change.from != change.to).collect()
    }
}

fn leaves(config: &Config) -> BTreeMap<String, String> {
    Node::parse(&config.to_yaml()).expect("what was just written can be read").leaves().into_iter().collect()
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live => f.write_str("live"),
            Self::Restart(actor) => write!(f, "restarts {actor}"),
            Self::Resume => f.write_str("only with --resume"),
            Self::AnotherRun => f.write_str("another run"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}, {}", self.key, self.from, self.to, self.effect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effects(old: &str, new: &str) -> Vec<String> {
        let read = |yaml: &str| serde_saphyr::from_str::<Config>(yaml).unwrap();
        Change::between(&read(old), &read(new), |kind| Some(format!("the_{kind}")))
            .iter()
            .map(Change::to_string)
            .collect()
    }

    #[test]
    fn what_only_how_a_run_is_carried_out_depends_on_is_changed_while_it_goes_on() {
        let new = "
            training: {save_every: 5, keep_checkpoints: 4}
            supervision: {max_live_episodes: 16, deadlines: {judge: 5s, stall: 1m}}
            logging: {level: debug}";
        let wanted = [
            "logging.level: info -> debug, live",
            "supervision.deadlines.judge: 30s -> 5s, live",
            "supervision.deadlines.stall: 5m -> 1m, restarts the_health_monitor",
            "supervision.max_live_episodes: 128 -> 16, live",
            "training.keep_checkpoints: 3 -> 4, restarts the_checkpointer",
            "training.save_every: 10 -> 5, live",
        ];
        assert_eq!(effects("{}", new), wanted);
    }

    #[test]
    fn what_determines_the_result_is_another_run() {
        let new = "{run: {seed: 3}, training: {learning_rate: 0.001}, agent: {system: be kind}, supervision: {restarts: {max: 9}}}";
        let wanted = [
            "agent.system: nothing -> be kind, another run",
            "run.seed: 0 -> 3, another run",
            "supervision.restarts.max: 5 -> 9, only with --resume",
            "training.learning_rate: 0.0003 -> 0.001, another run",
        ];
        assert_eq!(effects("{}", new), wanted);
    }

    #[test]
    fn a_pool_gets_another_size_but_the_tree_stays_as_it_is() {
        let old = "topology: {actors: {judge: {pool: {size: 2}}, auditor: {params: {words: 3}}}}";
        let new = "topology: {actors: {judge: {pool: {size: 4}}, auditor: {params: {words: 4, strict: true}}, environment: {pool: {size: 2}}}}";
        let changed = effects(old, new);
        let of =
            |key: &str| changed.iter().filter(|line| line.starts_with(key)).map(String::as_str).collect::<Vec<_>>();
        assert_eq!(of("topology.actors.judge"), ["topology.actors.judge.pool.size: 2 -> 4, restarts judge"]);
        let wanted = [
            "topology.actors.auditor.params.strict: nothing -> true, restarts auditor",
            "topology.actors.auditor.params.words: 3 -> 4, restarts auditor",
        ];
        assert_eq!(of("topology.actors.auditor"), wanted);
        assert_eq!(
            of("topology.actors.environment"),
            ["topology.actors.environment.pool.size: nothing -> 2, only with --resume"]
        );
    }

    #[test]
    fn nothing_changes_by_being_written_down() {
        assert_eq!(effects("{}", "{training: {steps: 60}, topology: {actors: {judge: {}}}}"), Vec::<String>::new());
    }
}
