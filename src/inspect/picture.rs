//! A running system at one moment.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use stateset_actors::protocol::{Instruments, Sight, Site};
use stateset_domain::{Dependency, DependencyReading};
use stateset_supervisors::{DeadCount, DeadLetter, Node, View};
use stateset_telemetry::TimedEvent;

use super::Recent;

/// Where everything that can be seen of a run is read from.
pub(crate) struct Seen {
    pub(crate) run: PathBuf,
    pub(crate) view: View,
    pub(crate) instruments: Instruments,
    pub(crate) dependencies: Vec<Arc<dyn Dependency>>,
    pub(crate) recent: Arc<Recent>,
    pub(crate) clock: Box<dyn Fn() -> Duration + Send + Sync>,
}

/// What is answered.
#[derive(Debug, Serialize)]
pub(super) struct Picture {
    pub(super) run: PathBuf,
    pub(super) running: bool,
    pub(super) process: u32,
    /// How long the run has been going on.
    pub(super) seconds: f64,
    pub(super) progress: Progress,
    pub(super) tree: Node,
    pub(super) threads: Vec<Thread>,
    pub(super) waiting: Vec<Wait>,
    pub(super) live_conversations: usize,
    pub(super) dependencies: Vec<DependencyReading>,
    pub(super) dead_letters: Dead,
    pub(super) recent: Vec<TimedEvent>,
}

/// What this process has done.
#[derive(Debug, Serialize)]
pub(super) struct Progress {
    pub(super) steps: u64,
    pub(super) episodes: u64,
    pub(super) tokens: u64,
}

/// A dedicated thread.
#[derive(Debug, Serialize)]
pub(super) struct Thread {
    pub(super) of: Site,
    pub(super) epoch: u64,
    pub(super) busy_seconds: Option<f64>,
    pub(super) zombies: u64,
}

/// Conversations that wait for the same answer.
#[derive(Debug, Serialize)]
pub(super) struct Wait {
    #[serde(rename = "for")]
    pub(super) site: Site,
    pub(super) conversations: usize,
    pub(super) longest_episode: String,
    pub(super) longest_turn: u32,
    pub(super) longest_seconds: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Dead {
    pub(super) counts: Vec<DeadCount>,
    pub(super) latest: Vec<DeadLetter>,
}

impl Seen {
    pub(super) fn picture(&self) -> Picture {
        let Sight { reading, threads, waiting, live } = self.instruments.look();
        let dead = self.view.dead_letters();
        let thread = |(of, reading): (Site, stateset_actors::ThreadReading)| Thread {
            of,
            epoch: reading.epoch,
            busy_seconds: reading.busy.map(|busy| busy.as_secs_f64()),
            zombies: reading.zombies,
        };
        let wait = |waiting: stateset_actors::protocol::Waiting| Wait {
            site: waiting.site,
            conversations: waiting.conversations,
            longest_episode: waiting.episode,
            longest_turn: waiting.turn,
            longest_seconds: waiting.waited.as_secs_f64(),
        };
        Picture {
            run: self.run.clone(),
            running: true,
            process: std::process::id(),
            seconds: (self.clock)().as_secs_f64(),
            progress: Progress { steps: reading.steps, episodes: reading.episodes, tokens: reading.tokens },
            tree: self.view.snapshot(),
            threads: threads.into_iter().map(thread).collect(),
            waiting: waiting.into_iter().map(wait).collect(),
            live_conversations: live,
            dependencies: self.dependencies.iter().map(|dependency| dependency.read()).collect(),
            dead_letters: Dead { counts: dead.counts(), latest: dead.recent() },
            recent: self.recent.events(),
        }
    }
}
