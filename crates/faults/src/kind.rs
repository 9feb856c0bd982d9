//! What can go wrong, and where it makes sense.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Site;

/// A way to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A panic.
    Panic,
    /// An error, as the site's contract has it.
    Error,
    /// A delay that every deadline bears.
    Slow,
    /// Silence, for longer than a deadline bears.
    Hang,
    /// A message is lost.
    Drop,
    /// A message comes twice.
    Duplicate,
    /// A message is overtaken by those behind it.
    Reorder,
    /// A gradient that is not a number.
    NanGradient,
    /// Nothing can be scored for a while.
    JudgeOutage,
    /// A tool answers nonsense.
    ToolGarbage,
    /// There is no room for a checkpoint.
    DiskFull,
    /// Half a checkpoint is written, and whoever wrote it is gone.
    TornWrite,
    /// The clock goes back.
    ClockJump,
    /// `kill -9` of the process.
    Kill,
}

/// The actors, whose handlers all fail alike.
const ACTORS: [Site; 7] = [
    Site::Learner,
    Site::Environment,
    Site::Conversation,
    Site::Inference,
    Site::Judge,
    Site::Checkpointer,
    Site::HealthMonitor,
];

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Panic,
        Self::Error,
        Self::Slow,
        Self::Hang,
        Self::Drop,
        Self::Duplicate,
        Self::Reorder,
        Self::NanGradient,
        Self::JudgeOutage,
        Self::ToolGarbage,
        Self::DiskFull,
        Self::TornWrite,
        Self::ClockJump,
        Self::Kill,
    ];

    /// Where it makes sense. A ticket or a session cannot be copied, so what carries one is never duplicated.
    #[must_use]
    pub fn sites(self) -> Vec<Site> {
        let also = |more: &[Site]| [ACTORS.as_slice(), more].concat();
        match self {
            Self::Panic | Self::Slow | Self::Hang => also(&[Site::Engine, Site::Optimizer, Site::Store]),
            Self::Error => also(&[Site::Engine, Site::Optimizer, Site::Reward, Site::Tools]),
            Self::Drop | Self::Reorder => vec![
                Site::ToLearner,
                Site::ToEnvironment,
                Site::ToInference,
                Site::ToJudge,
                Site::ToCheckpointer,
                Site::ToHealthMonitor,
            ],
            Self::Duplicate => vec![Site::ToLearner, Site::ToInference, Site::ToCheckpointer, Site::ToHealthMonitor],
            Self::NanGradient => vec![Site::Optimizer],
            Self::JudgeOutage => vec![Site::Reward],
            Self::ToolGarbage => vec![Site::Tools],
            Self::DiskFull | Self::TornWrite => vec![Site::Store],
            Self::ClockJump => vec![Site::Clock],
            Self::Kill => vec![Site::Process],
        }
    }

    /// How long it lasts at `site` unless a plan says otherwise; `None` for what is over at once.
    #[must_use]
    pub fn lasts(self, site: Site) -> Option<Duration> {
        match self {
            // Whoever asks an actor stops waiting; a thread's silence only a watchdog ends.
            Self::Hang if matches!(site, Site::Engine | Site::Optimizer | Site::Store) => Some(Duration::from_secs(60)),
            Self::Slow => Some(Duration::from_millis(50)),
            Self::Reorder => Some(Duration::from_millis(20)),
            Self::Hang => Some(Duration::from_secs(3)),
            Self::JudgeOutage => Some(Duration::from_secs(1)),
            Self::ClockJump => Some(Duration::from_secs(3600)),
            Self::Panic
            | Self::Error
            | Self::Drop
            | Self::Duplicate
            | Self::NanGradient
            | Self::ToolGarbage
            | Self::DiskFull
            | Self::TornWrite
            | Self::Kill => None,
        }
    }

    /// Its name, as in plans and events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::Slow => "slow",
            Self::Hang => "hang",
            Self::Drop => "drop",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::NanGradient => "nan_gradient",
            Self::JudgeOutage => "judge_outage",
            Self::ToolGarbage => "tool_garbage",
            Self::DiskFull => "disk_full",
            Self::TornWrite => "torn_write",
            Self::ClockJump => "clock_jump",
            Self::Kill => "kill",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_site_and_every_site_a_kind() {
        assert!(Kind::ALL.iter().all(|kind| !kind.sites().is_empty()));
        for site in Site::ALL {
            assert!(Kind::ALL.iter().any(|kind| kind.sites().contains(&site)), "nothing happens at {site}");
        }
    }
}
