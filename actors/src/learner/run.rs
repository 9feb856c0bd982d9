//! The run itself: restore, evaluate, train, publish, save, finish.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use stateset_domain::{
    Checkpoint, EpisodeCounts, Group, Learner, LearnerError, PolicySnapshot, Progress, Purpose, StepMetrics, Trajectory,
};
use stateset_telemetry::Event;
use tokio::time::{Instant, sleep};

use super::rollout::Rollout;
use super::{LearnerArguments, LearnerFailure};
use crate::policy::{Harvest, Retries, Summary, Task};
use crate::protocol::{
    CallError, CheckpointerMsg, Evaluation, FinishReason, HealthMsg, InferenceMsg, LearnerMsg, Port, Reply,
    RunFinished, Site,
};
use crate::thread::Confined;

/// Trajectories that an [`Evaluation`] shows.
const SAMPLES: usize = 8;

/// A run, as far as this incarnation of the learner has taken it.
pub struct Run {
    pub(super) arguments: LearnerArguments,
    pub(super) myself: ActorRef<LearnerMsg>,
    /// The round in flight; `None` before the first, and once the run has finished.
    pub(super) rollout: Option<Rollout>,
    /// Tickets issued by this incarnation.
    pub(super) issued: u64,
    learner: Confined<Box<dyn Learner>>,
    step: u64,
    episodes: EpisodeCounts,
    /// The weights as published; `None` before that.
    policy: Option<PolicySnapshot>,
    /// Evaluations of the current step made by this incarnation.
    evaluated: BTreeSet<(u64, Purpose)>,
    /// The last step that is on disk.
    saved: Option<u64>,
    /// Why the last attempt to save failed, if it did.
    unsaved: Option<String>,
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
            rollout: None,
            issued: 0,
            learner,
            step: 0,
            episodes: EpisodeCounts::default(),
            policy: None,
            evaluated: BTreeSet::new(),
            saved: None,
            unsaved: None,
            finished: false,
        }
    }

    pub(super) fn visit(&self, site: Site) {
        self.arguments.instruments.visit(site);
    }

    /// Restores the latest checkpoint, if there is one, publishes its weights, and begins the first round.
    pub(super) async fn begin(&mut self) -> Result<(), LearnerFailure> {
        let (seed, epoch) = (self.arguments.plan.seed, self.arguments.epoch);
        let restored = self.restore().await?;
        let snapshot = self.learner.ask(|learner| learner.snapshot()).await??;
        let policy_digest = snapshot.digest();
        if let Some(Progress { step, policy_digest: expected, .. }) = restored
            && expected != policy_digest
        {
            return Err(LearnerFailure::Misrestored { step, expected, found: policy_digest });
        }
        self.publish(snapshot).await?;
        if epoch == 1 {
            self.emit(Event::RunStarted { seed, from_step: self.step, policy_digest });
        }
        if restored.is_some() || epoch > 1 {
            let cause = if epoch > 1 { "the learner was restarted" } else { "the run was resumed" };
            self.emit(Event::Restored { step: self.step, cause: cause.into() });
        }
        // Even at step 0: a process that was killed before its first checkpoint has recorded steps too.
        self.arguments.observer.on_restored(self.step);
        self.advance().await
    }

    async fn restore(&mut self) -> Result<Option<Progress>, LearnerFailure> {
        let LearnerArguments { checkpointer, retries, deadlines, plan, .. } = &self.arguments;
        let latest = insist(checkpointer, retries, deadlines.save, |reply| CheckpointerMsg::Latest { reply }).await;
        let Some(Checkpoint { progress, artifacts }) = latest.map_err(LearnerFailure::Unread)?? else {
            return Ok(None);
        };
        if progress.seed != plan.seed {
            return Err(LearnerFailure::Seed { expected: plan.seed, found: progress.seed });
        }
        self.learner.ask(move |learner| learner.restore(&artifacts)).await??;
        (self.step, self.episodes, self.saved) = (progress.step, progress.episodes, Some(progress.step));
        Ok(Some(progress))
    }

    /// Begins whatever the plan says comes next.
    async fn advance(&mut self) -> Result<(), LearnerFailure> {
        let (observer, step) = (&self.arguments.observer, self.step);
        let evaluated = |purpose| self.evaluated.contains(&(step, purpose)) || observer.has_evaluation(step, purpose);
        match self.arguments.plan.next(step, evaluated) {
            Task::Finish => self.finish(FinishReason::Completed).await,
            task @ (Task::Train | Task::Evaluate(_)) => {
                tracing::debug!(step, ?task, "rollout begins");
                self.rollout = Some(Rollout::new(&self.arguments, task, step));
                self.admit();
                Ok(())
            }
        }
    }

    /// Uses the episodes of a round that is done, and goes on.
    pub(super) async fn reap(&mut self, rollout: Rollout) -> Result<(), LearnerFailure> {
        let comparable = if rollout.task == Task::Train { self.arguments.plan.group_size.min(2) } else { 1 };
        let seconds = rollout.started.elapsed().as_secs_f64();
        let Harvest { groups, counts } = rollout.round.harvest(comparable as usize);
        if groups.is_empty() {
            let (step, failed, episodes) = (self.step, counts.failed, counts.started);
            let last = rollout.failure.map_or_else(|| "too few in each group".into(), |failure| failure.to_string());
            return Err(LearnerFailure::Barren { step, failed, episodes, last });
        }
        match rollout.task {
            Task::Train => self.train(groups, counts, seconds).await?,
            Task::Evaluate(purpose) => self.evaluate(purpose, groups, counts),
            Task::Finish => {}
        }
        self.advance().await
    }

    async fn train(&mut self, groups: Vec<Group>, counts: EpisodeCounts, seconds: f64) -> Result<(), LearnerFailure> {
        let summary = Summary::of(groups.iter().flat_map(|group| &group.members));
        tracing::debug!(step = self.step, groups = groups.len(), "optimizer step begins");
        let started = Instant::now();
        let step = move |learner: &mut Box<dyn Learner>| -> Result<_, LearnerError> {
            Ok((learner.step(&groups)?, learner.snapshot()?))
        };
        let (report, snapshot) = self.learner.ask(step).await??;
        let train_seconds = started.elapsed().as_secs_f64();
        self.step += 1;
        self.episodes += counts;
        let metrics = StepMetrics {
            step: self.step,
            policy_version: snapshot.version(),
            reward_mean: summary.reward_mean,
            reward_std: summary.reward_std,
            success_rate: summary.success_rate,
            episodes_failed: counts.failed,
            rollout_tokens: summary.tokens,
            rollout_seconds: seconds,
            train_seconds,
            learner: report,
        };
        self.publish(snapshot).await?;
        self.record(metrics);
        if self.arguments.plan.saves_at(self.step) {
            self.save().await?;
        }
        Ok(())
    }

    fn record(&self, metrics: StepMetrics) {
        self.arguments.instruments.vitals.step_taken();
        if metrics.learner.skipped {
            self.emit(Event::StepSkipped { step: self.step });
        }
        self.arguments.observer.on_step(&metrics);
        // A monitor that is being restarted misses a row; it only watches.
        let _ = self.arguments.health.send(HealthMsg::Step(metrics));
    }

    fn evaluate(&mut self, purpose: Purpose, groups: Vec<Group>, counts: EpisodeCounts) {
        let mut samples: Vec<Trajectory> = groups.into_iter().flat_map(|group| group.members).collect();
        let summary = Summary::of(&samples);
        samples.truncate(SAMPLES);
        self.evaluated.insert((self.step, purpose));
        self.arguments.observer.on_evaluation(&Evaluation {
            at_step: self.step,
            purpose,
            episodes: summary.episodes,
            failed: counts.failed,
            success_rate: summary.success_rate,
            reward_mean: summary.reward_mean,
            samples,
        });
    }

    /// Puts the weights where the engine finds them, and waits until it serves them.
    async fn publish(&mut self, snapshot: PolicySnapshot) -> Result<(), LearnerFailure> {
        let LearnerArguments { inference, retries, deadlines, slot, .. } = &self.arguments;
        slot.set(snapshot.clone());
        let served = insist(inference, retries, deadlines.load, |reply| InferenceMsg::Load { reply }).await;
        let (served, published) = (served.map_err(LearnerFailure::Unpublished)??, snapshot.digest());
        if served != published {
            return Err(LearnerFailure::Misserved { published, served });
        }
        self.policy = Some(snapshot);
        Ok(())
    }

    /// Saves the state between two steps. A checkpoint that cannot be written is not a reason to stop.
    async fn save(&mut self) -> Result<(), LearnerFailure> {
        let Some(policy_digest) = self.policy.as_ref().map(PolicySnapshot::digest) else { return Ok(()) };
        let (step, episodes) = (self.step, self.episodes);
        tracing::debug!(step, "checkpoint begins");
        let LearnerArguments { plan, checkpointer, retries, deadlines, .. } = &self.arguments;
        let artifacts = self.learner.ask(|learner| learner.save()).await??;
        let progress = Progress { seed: plan.seed, step, episodes, policy_digest };
        let checkpoint = Arc::new(Checkpoint { progress, artifacts });
        let ask = |reply| CheckpointerMsg::Save { checkpoint: Arc::clone(&checkpoint), reply };
        self.unsaved = match insist(checkpointer, retries, deadlines.save, ask).await {
            Ok(Ok(_path)) => {
                self.saved = Some(step);
                None
            }
            // The checkpointer has reported it.
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => {
                let cause = format!("the checkpointer {error}");
                self.emit(Event::CheckpointFailed { step, cause: cause.clone() });
                Some(cause)
            }
        };
        Ok(())
    }

    /// Ends the run, once: abandons the round, saves what is not on disk, and says so.
    pub(super) async fn finish(&mut self, reason: FinishReason) -> Result<(), LearnerFailure> {
        let Some(policy) = self.policy.clone().filter(|_| !self.finished) else { return Ok(()) };
        (self.finished, self.rollout) = (true, None);
        let worth_saving = self.step > 0 || reason == FinishReason::Interrupted;
        if worth_saving && self.saved != Some(self.step) {
            self.save().await?;
        }
        let (step, episodes, unsaved) = (self.step, self.episodes, self.unsaved.clone());
        let said = match reason {
            FinishReason::Completed => "completed",
            FinishReason::Interrupted => "interrupted",
        };
        self.emit(Event::RunFinished { step, reason: said.into() });
        // Nobody has to hear it: a monitor that is down watches nothing.
        let _ = self.arguments.health.send(HealthMsg::Finished);
        let finished = RunFinished { step, reason, episodes, policy_digest: policy.digest(), unsaved };
        self.arguments.observer.on_finished(&finished);
        Ok(())
    }

    fn emit(&self, event: Event) {
        self.arguments.instruments.emit(event);
    }
}

/// Asks again, after a delay, while whoever is asked is restarted in the middle of answering.
async fn insist<M: Send + 'static, T>(
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
