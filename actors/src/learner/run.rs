//! The run itself: where it stands, what comes next, and how it ends.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use stateset_domain::{EpisodeCounts, Learner, PolicySnapshot, Purpose};
use stateset_telemetry::Event;
use tokio::time::sleep;

use super::journal::Journaling;
use super::round::Rollout;
use super::step::Stepping;
use super::{LearnerArguments, LearnerFailure};
use crate::policy::{Health, Recollection, Retries, Task};
use crate::protocol::{CallError, Failed, FinishReason, HealthMsg, LearnerMsg, Port, Reply, RunFinished, Site};
use crate::thread::Confined;

/// How long the learner pauses before it shows that it still lives.
const BREATH: Duration = Duration::from_secs(1);

/// A run, as far as this incarnation of the learner has taken it.
pub struct Run {
    pub(super) arguments: LearnerArguments,
    pub(super) myself: ActorRef<LearnerMsg>,
    pub(super) learner: Arc<Confined<Box<dyn Learner>>>,
    /// The rounds in flight, in the order in which they will be used; none once the run has finished.
    pub(super) rounds: VecDeque<Rollout>,
    /// The optimizer step in flight.
    pub(super) stepping: Option<Stepping>,
    /// Tickets issued by this incarnation.
    pub(super) issued: u64,
    /// Optimizer steps taken.
    pub(super) step: u64,
    pub(super) episodes: EpisodeCounts,
    /// The weights as published; `None` before that.
    pub(super) policy: Option<PolicySnapshot>,
    /// Evaluations of the current step made by this incarnation.
    pub(super) evaluated: BTreeSet<(u64, Purpose)>,
    /// The last step that is on disk.
    pub(super) saved: Option<u64>,
    /// Why the last attempt to save failed, if it did.
    pub(super) unsaved: Option<String>,
    /// What the journal holds of the steps to come.
    pub(super) recollection: Recollection,
    pub(super) journaling: Journaling,
    /// What health rules remember.
    pub(super) health: Health,
    /// A rule said to wait.
    pub(super) paused: bool,
    /// It was asked to end while a step was in flight.
    interrupted: bool,
    finished: bool,
}

impl Run {
    pub(super) fn new(
        arguments: LearnerArguments,
        myself: ActorRef<LearnerMsg>,
        learner: Confined<Box<dyn Learner>>,
    ) -> Self {
        Self {
            arguments,
            myself,
            learner: Arc::new(learner),
            rounds: VecDeque::new(),
            stepping: None,
            issued: 0,
            step: 0,
            episodes: EpisodeCounts::default(),
            policy: None,
            evaluated: BTreeSet::new(),
            saved: None,
            unsaved: None,
            recollection: Recollection::default(),
            journaling: Journaling::Off,
            health: Health::default(),
            paused: false,
            interrupted: false,
            finished: false,
        }
    }

    pub(super) async fn visit(&self, site: Site) -> Result<(), Failed> {
        self.arguments.instruments.visit(site).await
    }

    pub(super) fn emit(&self, event: Event) {
        self.arguments.instruments.emit(event);
    }

    /// Begins whatever the plan says comes next, and uses whatever is done.
    pub(super) async fn advance(&mut self) -> Result<(), LearnerFailure> {
        while self.stepping.is_none() && !self.finished && !self.paused {
            self.hear_evaluation();
            match self.next_task() {
                _ if self.interrupted => return self.finish(FinishReason::Interrupted).await,
                Task::Finish if self.health.stopped.is_some() => return self.finish(FinishReason::Stopped).await,
                Task::Finish => return self.finish(FinishReason::Completed).await,
                task @ (Task::Train | Task::Evaluate(_)) => self.open_rounds(task).await,
            }
            let Some(done) = self.next_round() else { break };
            self.reap(done).await?;
        }
        self.admit();
        Ok(())
    }

    fn next_task(&self) -> Task {
        let (observer, step) = (&self.arguments.observer, self.step);
        let known = |purpose| observer.evaluation(step, purpose).is_some();
        let evaluated = |purpose| self.evaluated.contains(&(step, purpose)) || known(purpose);
        self.health.next(&self.arguments.plan, step, evaluated)
    }

    /// A pause is taken breath by breath, so that the watchdog sees that it is meant.
    pub(super) fn pause_for(&self, time: Duration) {
        let breath = time.min(BREATH);
        self.myself.send_after(breath, move || LearnerMsg::Resume { left: time - breath });
    }

    /// A breath is over, and perhaps the pause.
    pub(super) async fn resume(&mut self, left: Duration) -> Result<(), LearnerFailure> {
        self.arguments.instruments.vitals.paused();
        if !left.is_zero() {
            self.pause_for(left);
            return Ok(());
        }
        self.paused = false;
        if self.finished { Ok(()) } else { self.advance().await }
    }

    /// Ends the run early: at once, or as soon as the step in flight is taken.
    pub(super) async fn interrupt(&mut self) -> Result<(), LearnerFailure> {
        self.interrupted = true;
        if self.stepping.is_some() { Ok(()) } else { self.finish(FinishReason::Interrupted).await }
    }

    /// Ends the run, once: abandons what is in flight, saves what is not on disk, and says so.
    async fn finish(&mut self, reason: FinishReason) -> Result<(), LearnerFailure> {
        let Some(policy) = self.policy.clone().filter(|_| !self.finished) else { return Ok(()) };
        self.finished = true;
        self.rounds.clear();
        let worth_saving = self.step > 0 || reason == FinishReason::Interrupted;
        if worth_saving && self.saved != Some(self.step) {
            self.save().await?;
        }
        let (step, episodes, unsaved) = (self.step, self.episodes, self.unsaved.clone());
        let said = match reason {
            FinishReason::Completed => "completed".to_owned(),
            FinishReason::Interrupted => "interrupted".to_owned(),
            FinishReason::Stopped => format!("stopped: {}", self.health.stopped.as_deref().unwrap_or_default()),
        };
        self.emit(Event::RunFinished { step, reason: said.clone() });
        // Nobody has to hear it: a monitor that is down watches nothing.
        let _ = self.arguments.health.send(HealthMsg::Finished);
        let finished = RunFinished { step, reason, said, episodes, policy_digest: policy.digest(), unsaved };
        self.arguments.observer.on_finished(&finished);
        Ok(())
    }
}

/// Asks again, after a delay, while whoever is asked is restarted in the middle of answering.
pub(super) async fn insist<M: Send + 'static, T>(
    port: &Port<M>,
    retries: &Retries,
    deadline: Duration,
    ask: impl Fn(Reply<T>) -> M,
) -> Result<T, CallError> {
    let mut attempt = 1;
    loop {
        match port.call(&ask, deadline).await {
            Err(CallError::Dropped) if attempt < retries.attempts => sleep(retries.delay(attempt)).await,
            outcome => return outcome,
        }
        attempt += 1;
    }
}
