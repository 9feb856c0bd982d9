//! What determines a run's result, so that a run is only ever resumed as itself.

use std::collections::BTreeMap;
use std::fmt;

use super::Config;
use super::node::Node;

/// Keys, or whole sections, that change how a run is carried out and reported but not what it computes.
const INCIDENTAL: [&str; 21] = [
    "run.name",
    "run.output_dir",
    "run.log_size",
    "supervision",
    "topology",
    "logging",
    "training.save_every",
    "training.keep_checkpoints",
    "training.eval_every",
    "training.activation_checkpointing",
    "training.sft.file",
    "training.dpo.file",
    "environment.domain",
    "rewards.judge.endpoint",
    "rewards.judge.api_key_env",
    "rewards.judge.timeout",
    "rewards.judge.concurrency",
    "rewards.judge.attempts",
    "rewards.judge.retry_budget",
    "rewards.judge.breaker",
    "rewards.judge.cache",
];

/// Whether `key` changes how a run is carried out, but not what it computes.
pub(super) fn is_incidental(key: &str) -> bool {
    let within = |it: &&str| key.strip_prefix(*it).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    INCIDENTAL.iter().any(within)
}

/// Every setting that determines the result, by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(BTreeMap<String, String>);

/// A setting in which two configurations differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The key.
    pub key: String,
    /// Its value in the run as recorded.
    pub recorded: String,
    /// Its value now.
    pub now: String,
}

impl Config {
    /// The configuration as YAML, defaults and overrides included, always in the same order: what `config.yaml` in a run's folder says.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(self).expect("a configuration is numbers and texts, which always serialise")
    }

    /// What determines the result. The domain, and a file that is learned from, count by their contents, which the caller has; not by
    /// where the files are.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let decisive = |key: &str| key == "training.eval_every" && self.heeds_evaluations();
        let leaves = Node::parse(&self.to_yaml()).expect("what was just written can be read").leaves();
        Fingerprint(leaves.into_iter().filter(|(key, _)| decisive(key) || !is_incidental(key)).collect())
    }
}

impl Fingerprint {
    /// The same without a setting.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.0.remove(key);
        self
    }

    /// Adds something else that determines the result, such as the digest of the domain's file.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.0.insert(key.to_owned(), value.to_string());
        self
    }

    /// Every setting in which a run, as recorded, differs from what is asked for now.
    #[must_use]
    pub fn differences(recorded: &Self, now: &Self) -> Vec<Difference> {
        let absent = || "nothing".to_owned();
        let keys = recorded.0.keys().chain(now.0.keys().filter(|key| !recorded.0.contains_key(*key)));
        let sides = keys.map(|key| (key, recorded.0.get(key), now.0.get(key)));
        sides
            .filter(|(_, recorded, now)| recorded != now)
            .map(|(key, recorded, now)| Difference {
                key: key.clone(),
                recorded: recorded.cloned().unwrap_or_else(absent),
                now: now.cloned().unwrap_or_else(absent),
            })
            .collect()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was {} and is now {}", self.key, self.recorded, self.now)
    }
}
