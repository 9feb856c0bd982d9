//! Everything worth a line in `events.jsonl`.

use serde::{Deserialize, Serialize};
use stateset_domain::{BreakerState, Digest, EpisodeId, FailureKind, PolicyVersion, Ruling};

/// A key of the configuration whose value changed while the run went on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChange {
    /// The key.
    pub key: String,
    /// Its value before.
    pub from: String,
    /// Its value from now on.
    pub to: String,
    /// What it took.
    pub how: String,
}

/// Why a supervised child ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "exit", content = "cause", rename_all = "snake_case")]
pub enum ExitCause {
    /// It finished, or was asked to stop.
    Normal,
    /// Its handler returned an error.
    Error(String),
    /// It panicked.
    Panic(String),
    /// It was killed.
    Killed,
    /// It could not be started.
    StartFailed(String),
}

impl ExitCause {
    /// Whether OTP's `transient` children are restarted after it: everything but a normal end.
    #[must_use]
    pub fn is_abnormal(&self) -> bool {
        !matches!(self, Self::Normal)
    }
}

/// How far down the shutdown ladder a child had to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopMeans {
    /// It finished its queue within the budget.
    Drained,
    /// It stopped after its current message.
    Stopped,
    /// It was killed at an await point.
    Killed,
    /// Not even a kill ended it: it blocks a thread, and is left behind.
    Zombie,
}

/// A fact about a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run began, or went on from a checkpoint.
    RunStarted {
        /// Seed of the run.
        seed: u64,
        /// Optimizer steps already taken.
        from_step: u64,
        /// Weights it starts with.
        policy_digest: Digest,
    },
    /// A run ended.
    RunFinished {
        /// Optimizer steps taken.
        step: u64,
        /// Why: `completed`, `interrupted`, or `stopped: ` and why.
        reason: String,
    },
    /// A child is running.
    ChildStarted {
        /// Its supervisor.
        supervisor: String,
        /// The child.
        child: String,
        /// 1 for the first start, one more for every restart.
        incarnation: u64,
    },
    /// A child ended.
    ChildExited {
        /// Its supervisor.
        supervisor: String,
        /// The child.
        child: String,
        /// Which incarnation of it.
        incarnation: u64,
        /// Why.
        #[serde(flatten)]
        cause: ExitCause,
    },
    /// The supervisor decided to restart.
    RestartScheduled {
        /// The supervisor.
        supervisor: String,
        /// The child whose end is the reason.
        child: String,
        /// Every child that is restarted because of it, in start order.
        restarting: Vec<String>,
        /// Seconds to wait first.
        delay_seconds: f64,
        /// Restarts within the intensity window, this one included.
        restarts_in_window: u32,
    },
    /// Restarts exceeded the supervisor's intensity: it gives up and ends.
    Escalated {
        /// The supervisor.
        supervisor: String,
        /// The child that failed last.
        child: String,
        /// Restarts counted within the window.
        restarts_in_window: u32,
        /// Why the child failed.
        #[serde(flatten)]
        cause: ExitCause,
    },
    /// A child was stopped on purpose.
    ChildStopped {
        /// Its supervisor.
        supervisor: String,
        /// The child.
        child: String,
        /// How.
        means: StopMeans,
    },
    /// An episode failed and is tried again.
    EpisodeRetried {
        /// Which.
        episode: EpisodeId,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// Why.
        failure: FailureKind,
    },
    /// An episode was given up on. It has no reward.
    EpisodeFailed {
        /// Which.
        episode: EpisodeId,
        /// Attempts made.
        attempts: u32,
        /// Why the last one failed.
        failure: FailureKind,
    },
    /// An engine serves new weights.
    WeightsLoaded {
        /// Their version.
        version: PolicyVersion,
        /// Their digest, as the engine computed it.
        digest: Digest,
    },
    /// A checkpoint is on disk.
    CheckpointSaved {
        /// Optimizer steps it holds.
        step: u64,
        /// Where it is.
        path: String,
    },
    /// A checkpoint could not be written; the run goes on.
    CheckpointFailed {
        /// Optimizer steps it would have held.
        step: u64,
        /// Why.
        cause: String,
    },
    /// The learner went back to a checkpoint.
    Restored {
        /// The step it went back to.
        step: u64,
        /// Why.
        cause: String,
    },
    /// A step taught nothing: its loss or gradient was not finite, or a health rule took it back.
    StepSkipped {
        /// Which.
        step: u64,
    },
    /// The run goes on with another configuration.
    ConfigReloaded {
        /// What is different now.
        changed: Vec<ConfigChange>,
    },
    /// The run was to go on with another configuration, but goes on with the one that it had.
    ReloadRefused {
        /// Why.
        reason: String,
    },
    /// A child failed once too often and is left down; its siblings go on.
    ChildSetAside {
        /// The supervisor.
        supervisor: String,
        /// The child.
        child: String,
        /// Restarts counted within the window.
        restarts_in_window: u32,
        /// Seconds until it is tried again; none if it never is.
        quarantine_seconds: Option<f64>,
        /// The children that failed, from this one to the innermost.
        chain: Vec<String>,
        /// Why the innermost of them failed.
        #[serde(flatten)]
        cause: ExitCause,
    },
    /// A supervisor ended because its significant children had.
    SupervisorFinished {
        /// The supervisor.
        supervisor: String,
        /// The child that ended last.
        child: String,
    },
    /// The journal was read.
    JournalRead {
        /// The step that the run goes on from.
        step: u64,
        /// Episodes that later steps need not roll out again.
        episodes: u64,
        /// Bytes of a half-written entry that were cut off.
        torn_bytes: u64,
    },
    /// Episodes of a round were taken from the journal.
    EpisodesReplayed {
        /// The step that the round is for.
        step: u64,
        /// How many.
        episodes: u64,
    },
    /// The journal cannot be written, or not read; the run goes on, and what is not in it would be rolled out again.
    JournalFailed {
        /// Optimizer steps taken.
        step: u64,
        /// Why.
        cause: String,
    },
    /// Taking a step again led to other weights than the journal has. What it holds of later steps is not used.
    ReplayDiverged {
        /// The step.
        step: u64,
        /// The weights on record.
        recorded: Digest,
        /// The weights now.
        found: Digest,
    },
    /// A dependency that is not ours is called no more, tried again, or called again.
    BreakerChanged {
        /// Which dependency.
        dependency: String,
        /// The state before.
        from: BreakerState,
        /// The state after.
        to: BreakerState,
        /// Share of calls that failed, among those that decided it; 0 if time did.
        failure_rate: f64,
        /// Share of calls that were slow, likewise.
        slow_rate: f64,
        /// How long it is not called at all; 0 unless the breaker opened.
        open_seconds: f64,
        /// Why.
        reason: String,
    },
    /// A health rule fired.
    Ruled(Ruling),
    /// A thread did not end when its successor was there, and is left behind: whatever it would still commit is refused.
    ThreadFenced {
        /// Whose.
        thread: String,
        /// Which of them, from 1.
        epoch: u64,
    },
    /// Nothing has moved for too long.
    Stalled {
        /// For how long, seconds.
        still_seconds: f64,
        /// Who waits for whom, a line for each.
        waits: Vec<String>,
        /// What is done about it.
        action: String,
    },
    /// A planned fault is about to act.
    FaultInjected {
        /// Its place in the plan, from 0.
        id: u32,
        /// What it is.
        kind: String,
        /// Where it acts.
        site: String,
        /// Optimizer steps taken when it did.
        step: u64,
        /// How it acts, in words.
        detail: String,
    },
    /// The process that does the work ended, and the one that watches it starts it again.
    WorkerRestarted {
        /// How it ended.
        exit: String,
        /// Which restart this is, from 1.
        attempt: u32,
        /// Seconds waited first.
        delay_seconds: f64,
    },
}
