//! What a run writes down as it happens, so that work which was accepted need not be done again.
//!
//! Between two checkpoints the journal is the only trace of what was sampled. Its entries are facts in the order in which they became
//! true. Each belongs to a timeline: a run that is sent back to an earlier step begins a new one, and what the old one holds of later
//! steps is void from then on.

use crate::{Digest, EpisodeId, FailureKind, StepMetrics, Trajectory};

/// One fact about a run.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one step for a hundred episodes, whose trajectories are boxed")]
pub enum Record {
    /// An episode was finished, judged, and taken in.
    EpisodeAccepted(Box<Trajectory>),
    /// An episode was given up on.
    EpisodeFailed {
        /// Which.
        episode: EpisodeId,
        /// Attempts made.
        attempts: u32,
        /// Why the last one failed.
        failure: FailureKind,
    },
    /// An optimizer step is about to be taken on exactly these episodes.
    BatchConsumed {
        /// The step, from 1.
        step: u64,
        /// The episodes, in the order in which the learner sees them.
        episodes: Vec<EpisodeId>,
    },
    /// An optimizer step was taken.
    StepCommitted {
        /// The weights it led to.
        policy_digest: Digest,
        /// What was measured.
        metrics: StepMetrics,
    },
    /// A directive changed the course of the run.
    DirectiveApplied {
        /// Optimizer steps taken before it.
        step: u64,
        /// The version of the directive's format.
        format: u32,
        /// The directive, in that format.
        directive: String,
    },
    /// The run was sent back: this entry's timeline begins, and earlier ones are void beyond `step`.
    RunRestored {
        /// The step it goes on from.
        step: u64,
        /// Why.
        reason: String,
    },
}

impl Record {
    /// The optimizer step that this is part of, from 1: it is worth keeping while the run may go on from a step before it.
    #[must_use]
    pub fn step(&self) -> u64 {
        match self {
            Self::EpisodeAccepted(trajectory) => trajectory.episode.group.step,
            Self::EpisodeFailed { episode, .. } => episode.group.step,
            Self::BatchConsumed { step, .. } => *step,
            Self::StepCommitted { metrics, .. } => metrics.step,
            Self::DirectiveApplied { step, .. } | Self::RunRestored { step, .. } => step + 1,
        }
    }
}

/// A fact, and the timeline on which it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// 0 until the run is first sent back, and one more each time.
    pub timeline: u64,
    /// The fact.
    pub record: Record,
}

/// What an entry must survive before it counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, however sudden.
    Process,
    /// A loss of power. Whatever was appended before survives it too.
    Power,
}

/// What a journal holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Replay {
    /// The entries, oldest first.
    pub entries: Vec<Entry>,
    /// Bytes of a last entry that was only half written when its writer ended, and was cut off.
    pub torn_bytes: u64,
}
