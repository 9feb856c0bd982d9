//! What a run's file may say about learning without episodes.

use std::path::Path;

use super::findings::Findings;
use super::{Algorithm, Problem, Training};

impl Training {
    /// Whether it learns from what it is given instead of from episodes. It then samples none but to be evaluated.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        !self.algorithm.samples() || self.data().is_some()
    }

    /// The file that it learns from, and the key that names it.
    #[must_use]
    pub fn data(&self) -> Option<(&'static str, &Path)> {
        let (key, file) = match self.algorithm {
            Algorithm::Sft => ("training.sft.file", &self.sft.file),
            Algorithm::Dpo => ("training.dpo.file", &self.dpo.file),
            _ => return None,
        };
        file.as_deref().map(|file| (key, file))
    }

    /// How many groups it samples a step, and how many episodes a group.
    #[must_use]
    pub fn sampled(&self) -> (u32, u32) {
        if self.is_offline() { (0, 0) } else { (self.groups_per_step, self.group_size) }
    }

    /// What a step learns from, in words.
    #[must_use]
    pub fn diet(&self) -> String {
        let of = self.data().map(|(_, file)| format!(" of {}", file.display()));
        match self.algorithm {
            _ if !self.is_offline() => format!("{} x {} episodes", self.groups_per_step, self.group_size),
            Algorithm::Dpo => format!("{} pairs{}", self.dpo.batch, of.unwrap_or_default()),
            _ => match of {
                Some(of) => format!("{} conversations{of}", self.sft.batch),
                None => format!("{} demonstrations of the domain", self.sft.batch),
            },
        }
    }
}

/// Settings about sampled episodes that the algorithm has no use for.
pub(super) fn validate(training: &Training, found: &mut Findings) {
    let default = Training::default();
    let stale = [
        ("staleness", training.staleness != default.staleness),
        ("importance_sampling", training.importance_sampling != default.importance_sampling),
    ];
    let sampled = [
        ("groups_per_step", training.groups_per_step != default.groups_per_step),
        ("group_size", training.group_size != default.group_size),
        ("rollouts", training.rollouts != default.rollouts),
        ("max_staleness", training.max_staleness != default.max_staleness),
    ];
    let (unused, why) = match (training.is_offline(), training.algorithm) {
        (true, Algorithm::Sft) => ([&sampled[..], &stale].concat(), "sampled episodes have no part in sft"),
        (true, _) => ([&sampled[..], &stale].concat(), "sampled episodes have no part in dpo with a `file`"),
        (false, Algorithm::Dpo) => (stale.to_vec(), "in dpo a pair counts in full, whoever sampled it"),
        (false, _) => return,
    };
    for (key, _) in unused.into_iter().filter(|(_, changed)| *changed) {
        let key = format!("training.{key}");
        let message = format!("`{key}` is set, but {why}");
        found.add(Problem::new(key, message).help("leave it out"));
    }
}
