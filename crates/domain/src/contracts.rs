//! The contracts on which the wings of the house meet. All are synchronous; who implements them may block, and who calls them
//! does so from a thread of its own.

use std::path::PathBuf;

use thiserror::Error;

use crate::{
    Adjustments, Artifact, Checkpoint, Digest, Durability, Entry, GenerateRequest, Group, PolicySnapshot, Poll, Replay,
    StepReport,
};

/// Generates text for many conversations at once.
pub trait Engine: Send {
    /// Replaces the weights between two steps and returns the digest of what is now served. Prefixes computed with the old weights
    /// are forgotten; a request in flight is restarted under the new ones.
    ///
    /// # Errors
    /// [`EngineError::Snapshot`] if the tensors do not fit the model; the old weights stay.
    fn load(&mut self, snapshot: &PolicySnapshot) -> Result<Digest, EngineError>;

    /// Queues a request.
    ///
    /// # Errors
    /// [`EngineError::Request`] if it can never be served: empty, too long, or with impossible sampling parameters.
    fn submit(&mut self, request: GenerateRequest) -> Result<(), EngineError>;

    /// Advances every live request by one token or one piece of its prompt.
    ///
    /// # Errors
    /// [`EngineError::Compute`] if the arithmetic failed; live requests are then lost.
    fn step(&mut self) -> Result<Poll, EngineError>;

    /// Forgets a conversation's prefix, and its request if one is live.
    fn release(&mut self, conversation: u64);
}

/// Why an engine could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineError {
    /// The snapshot does not fit the model.
    #[error("policy snapshot does not fit the model: {0}")]
    Snapshot(String),
    /// The request cannot be served.
    #[error("request cannot be served: {0}")]
    Request(String),
    /// The arithmetic failed.
    #[error("forward pass failed: {0}")]
    Compute(String),
}

/// Turns groups of judged episodes into a better policy.
pub trait Learner: Send {
    /// Takes one optimizer step. A step whose loss or gradient is not finite changes nothing but the step counter and says so.
    ///
    /// # Errors
    /// [`LearnerError`] if the groups cannot be trained on, or the arithmetic failed.
    fn step(&mut self, groups: &[Group]) -> Result<StepReport, LearnerError>;

    /// Takes the last step back: weights and optimizer are as before it, and the step counts as taken. Does nothing if there is
    /// nothing to take back.
    ///
    /// # Errors
    /// [`LearnerError::Compute`] if the weights cannot be written.
    fn undo(&mut self) -> Result<(), LearnerError>;

    /// Steps from now on with `adjustments` over the settings it was made with; they replace those of earlier calls.
    fn adjust(&mut self, adjustments: &Adjustments);

    /// Lets the next step's gradient be no number, as broken hardware would. For fault injection; a learner without gradients ignores it.
    fn spoil_gradient(&mut self) {}

    /// The policy as it stands.
    ///
    /// # Errors
    /// [`LearnerError::Compute`] if the weights cannot be read.
    fn snapshot(&self) -> Result<PolicySnapshot, LearnerError>;

    /// Everything needed to go on later: weights, optimizer, step.
    ///
    /// # Errors
    /// [`LearnerError::State`] if it cannot be serialised.
    fn save(&self) -> Result<Vec<Artifact>, LearnerError>;

    /// Goes back to what [`save`](Self::save) returned.
    ///
    /// # Errors
    /// [`LearnerError::State`] if the files do not fit; the learner is then unusable.
    fn restore(&mut self, artifacts: &[Artifact]) -> Result<(), LearnerError>;
}

/// Why a learner could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LearnerError {
    /// The groups cannot be trained on.
    #[error("cannot train on this batch: {0}")]
    Batch(String),
    /// The arithmetic failed.
    #[error("optimizer step failed: {0}")]
    Compute(String),
    /// A saved state cannot be written or read back.
    #[error("learner state is unusable: {0}")]
    State(String),
}

/// Keeps checkpoints.
pub trait Store: Send {
    /// Writes a checkpoint so that it is either wholly there or not there at all, and drops those beyond the retention limit.
    ///
    /// # Errors
    /// [`StoreError`]; the previous checkpoints stay.
    fn save(&mut self, checkpoint: &Checkpoint) -> Result<PathBuf, StoreError>;

    /// The newest whole checkpoint, its checksums verified; `None` if there is none yet.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the newest one was tampered with or truncated.
    fn latest(&self) -> Result<Option<Checkpoint>, StoreError>;

    /// The step of the oldest checkpoint that is kept; `None` if there is none yet.
    ///
    /// # Errors
    /// [`StoreError::Io`] if it cannot be looked for.
    fn oldest(&self) -> Result<Option<u64>, StoreError>;

    /// The newest whole checkpoint of a step up to `at_most` that was [`healthy`](crate::Progress::healthy) when it was saved; `None` if
    /// there is none.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it was tampered with or truncated.
    fn latest_healthy(&self, at_most: u64) -> Result<Option<Checkpoint>, StoreError>;

    /// Drops every checkpoint of a step after `step`.
    ///
    /// # Errors
    /// [`StoreError::Io`]; some of them may then be left.
    fn forget_after(&mut self, step: u64) -> Result<(), StoreError>;
}

/// Keeps a run's journal.
pub trait Journal: Send {
    /// Writes `entries` at the end, in order, so that they survive what `durability` names.
    ///
    /// # Errors
    /// [`StoreError`]; what was written before stays, and the next append begins where it ended. [`StoreError::Fenced`] if somebody
    /// else has opened the journal since: nothing this writer appends will ever be read.
    fn append(&mut self, entries: &[Entry], durability: Durability) -> Result<(), StoreError>;

    /// Every entry of the steps after `step`, and every [`RunRestored`](crate::Record::RunRestored), which says what of them is void.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if anything but the very end is not what was written.
    fn replay(&mut self, step: u64) -> Result<Replay, StoreError>;

    /// Drops entries of steps up to `step`, or as many of them as can be dropped cheaply: the run will not go back beyond it.
    ///
    /// # Errors
    /// [`StoreError`]; what could not be dropped is still there.
    fn forget(&mut self, step: u64) -> Result<(), StoreError>;
}

/// Why a checkpoint or a journal could not be written or read.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file is not what was written.
    #[error("{path} is damaged: {reason}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody else writes here now.
    #[error("{path} was opened by a later writer (epoch {now}); this one (epoch {mine}) may write no more")]
    Fenced {
        /// What both want to write.
        path: PathBuf,
        /// The epoch of this writer.
        mine: u64,
        /// The epoch of the other.
        now: u64,
    },
}

/// Text to token ids and back.
pub trait Tokenizer: Send + Sync {
    /// The ids of `text`, without adding anything. A special token written out in `text` is text like any other: nobody can type
    /// their way into another role.
    ///
    /// # Errors
    /// If the text has no encoding.
    fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError>;

    /// The text of `ids`, special tokens left out.
    ///
    /// # Errors
    /// If an id is unknown.
    fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError>;

    /// The id of a special token.
    fn special(&self, token: &str) -> Option<u32>;

    /// The special tokens, as they are written.
    fn specials(&self) -> Vec<String>;

    /// The ids of `text`, without adding anything. A special token written out in it is that token: for text that a program wrote.
    ///
    /// # Errors
    /// If the text has no encoding.
    fn encode_marked(&self, text: &str) -> Result<Vec<u32>, TokenizerError>;
}

/// Why text could not be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("tokenizer: {0}")]
pub struct TokenizerError(pub String);
