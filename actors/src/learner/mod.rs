//! The learner actor: drives the run.
//!
//! A domain [`Learner`] lives on a thread of its own. The actor asks the [`Plan`] what comes next, rolls a round of episodes out
//! through the ring, hands the harvest to the thread, publishes the new weights, and saves them now and then.
//!
//! | When               | What is guaranteed                                                                             |
//! |--------------------|------------------------------------------------------------------------------------------------|
//! | it is restarted    | the new incarnation goes on from the latest checkpoint; tickets of the old one are void         |
//! | an episode is done | it is in the journal before it counts, and is not rolled out again after a restart              |
//! | a ticket is lost   | its episode is tried again, after a delay, a bounded number of times                            |
//! | weights are served | the engine has acknowledged their digest, and only then are episodes admitted                   |
//! | it is interrupted  | the step in progress is finished, the round abandoned, and the last completed step saved        |

mod health;
mod journal;
mod publish;
mod restore;
mod round;
mod run;
mod save;
mod step;

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use stateset_domain::{Digest, EngineError, Learner, LearnerError, StoreError};
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::policy::{Plan, Policies, Retries};
use crate::protocol::{
    CallError, CheckpointerMsg, Deadlines, EnvironmentMsg, HealthMsg, InferenceMsg, Instruments, LearnerMsg, Observer,
    PolicySlot, Port, Settings, SettingsSource, Site,
};
use crate::thread::{Confined, Lease, ThreadEnded};
use run::Run;

/// Builds a learner, on the thread where it will live.
pub type LearnerFactory = Arc<dyn Fn() -> Result<Box<dyn Learner>, LearnerError> + Send + Sync>;

/// Drives a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct LearnerActor;

/// What a [`LearnerActor`] starts with.
#[derive(Clone)]
pub struct LearnerArguments {
    /// Builds the learner.
    pub build: LearnerFactory,
    /// What the run is made of.
    pub plan: Plan,
    /// What health rules decide.
    pub policies: Arc<Policies>,
    /// How often an episode is attempted; also how often a call is repeated whose receiver was restarted.
    pub retries: Retries,
    /// How long to wait for each request.
    pub deadlines: Deadlines,
    /// What of the above may change while the run goes on; it is read before every message.
    pub settings: SettingsSource,
    /// Which incarnation this is: 1, and one more for every restart.
    pub epoch: u64,
    /// One permit for every episode that may be live. One for all incarnations.
    pub permits: Arc<Semaphore>,
    /// Where the engine finds the current weights.
    pub slot: Arc<PolicySlot>,
    /// One for all incarnations.
    pub lease: Lease,
    /// Where tickets come home to: this learner, over restarts.
    pub home: Port<LearnerMsg>,
    /// Who begins episodes.
    pub environment: Port<EnvironmentMsg>,
    /// Who serves the weights.
    pub inference: Port<InferenceMsg>,
    /// Who keeps checkpoints.
    pub checkpointer: Port<CheckpointerMsg>,
    /// Who looks at the metrics.
    pub health: Port<HealthMsg>,
    /// Who follows the run.
    pub observer: Arc<dyn Observer>,
    /// What to report through.
    pub instruments: Instruments,
}

impl LearnerArguments {
    /// Takes over what may have changed. None of it makes a difference to the result.
    fn refresh(&mut self) {
        let Settings { deadlines, retries, save_every, eval_every } = (self.settings)();
        (self.deadlines, self.retries) = (deadlines, retries);
        (self.plan.save_every, self.plan.eval_every) = (save_every, eval_every);
    }
}

/// Why a learner cannot go on. Its supervisor decides what becomes of the run.
#[derive(Debug, Error)]
pub enum LearnerFailure {
    /// The thread is gone.
    #[error("the learner cannot go on, {0}")]
    Thread(#[from] ThreadEnded),
    /// The learner said so.
    #[error(transparent)]
    Learner(#[from] LearnerError),
    /// The engine did not answer.
    #[error("the inference engine {0}, asked to load weights")]
    Unpublished(CallError),
    /// The engine refused the weights.
    #[error(transparent)]
    Refused(#[from] EngineError),
    /// The engine serves other weights than were published.
    #[error("published weights {published}, but the engine serves {served}")]
    Misserved {
        /// The digest of what was published.
        published: Digest,
        /// The digest that the engine acknowledged.
        served: Digest,
    },
    /// The checkpointer did not answer.
    #[error("the checkpointer {0}, asked for the latest checkpoint")]
    Unread(CallError),
    /// The latest checkpoint or the journal cannot be read, or is somebody else's now.
    #[error(transparent)]
    Unreadable(#[from] StoreError),
    /// The latest checkpoint is another run's.
    #[error("the checkpoint belongs to a run with seed {found}, this run has seed {expected}")]
    Seed {
        /// This run's.
        expected: u64,
        /// The checkpoint's.
        found: u64,
    },
    /// Restoring the checkpoint gave other weights than it was made of.
    #[error("the checkpoint of step {step} holds weights {found}, it was made with {expected}")]
    Misrestored {
        /// The checkpoint's step.
        step: u64,
        /// The digest on record.
        expected: Digest,
        /// The digest of what was restored.
        found: Digest,
    },
    /// No group of a round is left to learn from.
    #[error(
        "no group of the round after step {step} could be finished: {failed} of {episodes} episodes failed, the last: {last}"
    )]
    Barren {
        /// Optimizer steps taken.
        step: u64,
        /// Episodes that failed.
        failed: u64,
        /// Episodes that were asked for.
        episodes: u64,
        /// Why the last of them did.
        last: String,
    },
}

impl Actor for LearnerActor {
    type Msg = LearnerMsg;
    type State = Run;
    type Arguments = LearnerArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<LearnerMsg>,
        arguments: LearnerArguments,
    ) -> Result<Run, ActorProcessingErr> {
        let build = Arc::clone(&arguments.build);
        let LearnerArguments { lease, instruments, .. } = &arguments;
        instruments.threads.watch(Site::Learner, lease, &instruments.events);
        let learner = Confined::spawn("learner", lease.clone(), move |_fence| build())?;
        myself.cast(LearnerMsg::Begin).map_err(|_| "the learner cannot reach itself")?;
        Ok(Run::new(arguments, myself, learner))
    }

    async fn handle(
        &self,
        _myself: ActorRef<LearnerMsg>,
        message: LearnerMsg,
        run: &mut Run,
    ) -> Result<(), ActorProcessingErr> {
        run.visit(Site::Learner).await?;
        run.arguments.refresh();
        match message {
            LearnerMsg::Begin => run.begin().await?,
            LearnerMsg::Completed { epoch, trajectory } => run.completed(epoch, trajectory).await?,
            LearnerMsg::Aborted { episode, attempt, epoch, failure } => {
                run.aborted(epoch, episode, attempt, failure).await?
            }
            LearnerMsg::Reissue { episode, attempt } => run.reissue(episode, attempt),
            LearnerMsg::StepTaken { outcome } => run.step_taken(outcome).await?,
            LearnerMsg::Resume { left } => run.resume(left).await?,
            LearnerMsg::Interrupt => run.interrupt().await?,
        }
        Ok(())
    }
}
