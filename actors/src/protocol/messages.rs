//! Every message of the ring, by who receives it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use stateset_domain::{
    Checkpoint, Completion, Digest, Durability, EngineError, Entry, EpisodeId, FailureKind, Message, PolicySnapshot,
    Replay, Sampling, StepReport, StoreError, Stream, Trajectory,
};
use stateset_environments::{Action, EnvironmentError, Session, Step};

use crate::LearnerFailure;
use crate::protocol::{Reply, Ticket};

/// To the learner.
pub enum LearnerMsg {
    /// Restore what there is and go to work. The learner sends it to itself when it starts.
    Begin,
    /// A ticket came home with its episode finished and judged.
    Completed {
        /// The learner incarnation that wanted it.
        epoch: u64,
        /// The episode.
        trajectory: Box<Trajectory>,
    },
    /// A ticket came home without its episode.
    Aborted {
        /// Which episode.
        episode: EpisodeId,
        /// Which attempt.
        attempt: u32,
        /// The learner incarnation that wanted it.
        epoch: u64,
        /// Why.
        failure: FailureKind,
    },
    /// The back-off of a failed attempt is over. The learner sends it to itself.
    Reissue {
        /// Which episode.
        episode: EpisodeId,
        /// The attempt to make now.
        attempt: u32,
    },
    /// The optimizer step in flight is over. The learner's own task sends it.
    StepTaken {
        /// What was measured, and the new weights.
        outcome: Result<(StepReport, PolicySnapshot), LearnerFailure>,
    },
    /// A part of a pause is over. The learner sends it to itself.
    Resume {
        /// What is left of the pause.
        left: Duration,
    },
    /// End the run after the current optimizer step, if one runs: abandon the round, save, and say so.
    Interrupt,
}

/// To the environment.
pub enum EnvironmentMsg {
    /// Begin an episode.
    Admit(Ticket),
    /// Answer a reply of the policy.
    Step {
        /// The episode in progress. It travels with the question, so that an environment that is restarted has nothing to forget.
        session: Box<dyn Session>,
        /// The reply.
        action: Action,
        /// Takes the session back, and what the reply led to.
        reply: Reply<Result<Stepped, EnvironmentError>>,
    },
}

/// A session after a step.
pub struct Stepped {
    /// The session, for the next step.
    pub session: Box<dyn Session>,
    /// What the reply led to.
    pub step: Step,
}

/// An episode ready to be talked through: what a conversation starts with.
pub struct Begin {
    /// Settles the episode.
    pub ticket: Ticket,
    /// The scenario's id.
    pub scenario: String,
    /// What is said before the policy's first reply.
    pub opening: Vec<Message>,
    /// The rest of the episode.
    pub session: Box<dyn Session>,
}

/// To a conversation.
pub enum ConversationMsg {
    /// Talk it through. The conversation sends it to itself when it starts.
    Run,
}

/// A conversation to be continued.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// Whose prefix it extends.
    pub conversation: u64,
    /// Every token so far.
    pub tokens: Vec<u32>,
    /// How to choose.
    pub sampling: Sampling,
    /// Token ids that end the reply.
    pub stop_tokens: Vec<u32>,
    /// Where the randomness comes from.
    pub stream: Stream,
}

/// To the inference engine.
pub enum InferenceMsg {
    /// Serve what the [`PolicySlot`](crate::protocol::PolicySlot) holds, from now on.
    Load {
        /// Takes the digest of what is served, as the engine computed it.
        reply: Reply<Result<Digest, EngineError>>,
    },
    /// Continue a conversation.
    Generate {
        /// The conversation.
        prompt: Prompt,
        /// Takes what was sampled.
        reply: Reply<Result<Completion, EngineError>>,
    },
    /// Forget a conversation.
    Release {
        /// Which.
        conversation: u64,
    },
    /// The engine's thread ended. It says so itself; the actor fails, and whoever supervises it decides.
    Ended {
        /// Why.
        cause: String,
    },
}

/// To the judge.
pub enum JudgeMsg {
    /// Score a finished episode and settle its ticket.
    Score {
        /// Settles the episode.
        ticket: Ticket,
        /// The episode.
        trajectory: Box<Trajectory>,
    },
    /// The model that judges will not be had. A task says so; the actor fails, and whoever supervises it decides.
    Refused {
        /// What its server said.
        cause: String,
    },
}

/// To the checkpointer.
pub enum CheckpointerMsg {
    /// Write a checkpoint.
    Save {
        /// What to write.
        checkpoint: Arc<Checkpoint>,
        /// Takes its path once it is wholly on disk.
        reply: Reply<Result<PathBuf, StoreError>>,
    },
    /// Read the newest checkpoint.
    Latest {
        /// Takes it.
        reply: Reply<Result<Option<Checkpoint>, StoreError>>,
    },
    /// Write to the journal.
    Append {
        /// What to write.
        entry: Arc<Entry>,
        /// What it must survive.
        durability: Durability,
        /// Takes the news that it does.
        reply: Reply<Result<(), StoreError>>,
    },
    /// Read the journal.
    Recall {
        /// The step that the run goes on from.
        step: u64,
        /// Takes what is recorded of later ones.
        reply: Reply<Result<Replay, StoreError>>,
    },
    /// Read the newest checkpoint that was healthy when it was saved.
    LatestHealthy {
        /// Of a step up to this one.
        at_most: u64,
        /// Takes it.
        reply: Reply<Result<Option<Checkpoint>, StoreError>>,
    },
    /// Drop the checkpoints of every step after this one.
    ForgetAfter {
        /// The step.
        step: u64,
        /// Takes how it went.
        reply: Reply<Result<(), StoreError>>,
    },
}

/// To the health monitor.
pub enum HealthMsg {
    /// A step was taken.
    Step,
    /// Time to look at the vitals. The monitor sends it to itself.
    Tick,
    /// The run is over: standing still is all right now.
    Finished,
}
