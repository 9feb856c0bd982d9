//! A round in flight: tickets out as permits allow, tickets home, and what the harvest is for.

use std::collections::VecDeque;
use std::sync::Arc;

use stateset_domain::{Digest, Durability, EpisodeCounts, EpisodeId, FailureKind, Group, Purpose, Record, Trajectory};
use stateset_telemetry::Event;
use tokio::time::Instant;

use super::run::Run;
use super::step::Batch;
use super::{LearnerArguments, LearnerFailure};
use crate::policy::{Decision, Harvest, Place, Plan, RecordedStep, Round, Summary, Task, informative};
use crate::protocol::{Assignment, EnvironmentMsg, Evaluation, LearnerMsg, Ticket, Undelivered};

/// Trajectories that an [`Evaluation`] shows.
const SAMPLES: usize = 8;

/// A round that is being rolled out.
pub(super) struct Rollout {
    pub(super) task: Task,
    pub(super) round: Round,
    /// How long it took, once it is done; 0 if nothing of it had to be rolled out.
    seconds: f64,
    /// The journal holds the batch that was made of it before.
    consumed: bool,
    /// The weights that the batch led to, if the journal knows.
    committed: Option<Digest>,
    /// What the journal holds of groups that may yet be asked for.
    recorded: RecordedStep,
    /// Groups so far, and how often some were made up for.
    groups: u32,
    resamples: u32,
    /// For training, the step that it is for, from 1; for an evaluation, the steps that its policy has taken.
    step: u64,
    started: Instant,
    /// Why the last attempt at an episode failed that says so.
    failure: Option<FailureKind>,
    /// Attempts that wait for a permit, in order.
    pending: VecDeque<(EpisodeId, u32)>,
}

/// Members without which a group of a training step is not one.
fn comparable(plan: &Plan) -> usize {
    plan.group_size.min(2) as usize
}

impl Rollout {
    /// The episodes that are to make up for groups of a round that is done and whose rewards are all equal, if any are.
    fn wanted(&self, plan: &Plan) -> Option<Vec<EpisodeId>> {
        if self.task != Task::Train || self.resamples >= plan.max_resamples {
            return None;
        }
        let found = self.round.informative(comparable(plan)) as u32;
        let missing = plan.groups_per_step.saturating_sub(found);
        (missing > 0).then(|| plan.further(self.step, self.groups, missing))
    }

    /// Takes further groups in, and says how many of their episodes the journal holds.
    fn extend(&mut self, episodes: Vec<EpisodeId>) -> u64 {
        self.groups = episodes.last().map_or(self.groups, |last| last.group.index + 1);
        self.resamples += 1;
        self.round.extend(episodes);
        let remembered = self.round.remember(self.recorded.part(|id| self.round.holds(id)));
        self.pending.extend(self.round.awaited().map(|episode| (episode, 1)));
        remembered
    }

    /// Notes how long the round took if it is done now.
    fn look_at_clock(&mut self) {
        if self.round.is_done() {
            self.seconds = self.started.elapsed().as_secs_f64();
        }
    }
}

impl Run {
    /// Begins the rounds that `task` is about, unless they have begun. An evaluation goes before the rounds that are rolled out ahead.
    pub(super) async fn open_rounds(&mut self, task: Task) {
        match task {
            Task::Evaluate(_) if self.rounds.front().is_none_or(|first| first.task != task) => {
                let rollout = self.begin_round(task, self.step, self.step, RecordedStep::default());
                self.rounds.push_front(rollout);
            }
            Task::Train => {
                let open = self.rounds.back().map_or(self.step, |last| last.step);
                for step in open + 1..=self.health.horizon(&self.arguments.plan, self.step) {
                    let recorded = self.recollection.take(step);
                    let rollout = self.begin_round(task, step, step - 1, recorded);
                    self.rounds.push_back(rollout);
                }
            }
            Task::Evaluate(_) | Task::Finish => {}
        }
    }

    /// The round of `task` as it begins after `taken` optimizer steps, without what is `recorded` of it.
    fn begin_round(&self, task: Task, step: u64, taken: u64, mut recorded: RecordedStep) -> Rollout {
        tracing::debug!(step = taken, ?task, "rollout begins");
        let LearnerArguments { plan, epoch, retries, .. } = &self.arguments;
        let mut round = Round::new(*epoch, *retries, plan.episodes(task, taken));
        let (consumed, committed) = (recorded.consumed.is_some(), recorded.committed);
        self.replayed(step, round.remember(recorded.part(|id| round.holds(id))));
        let pending = round.awaited().map(|episode| (episode, 1)).collect();
        let started = Instant::now();
        Rollout {
            task,
            round,
            seconds: 0.0,
            consumed,
            committed,
            recorded,
            groups: plan.groups_per_step,
            resamples: 0,
            step,
            started,
            failure: None,
            pending,
        }
    }

    fn replayed(&self, step: u64, episodes: u64) {
        if episodes > 0 {
            self.emit(Event::EpisodesReplayed { step, episodes });
        }
    }

    /// The next round, if it can be used: it is done, and what has to be made up for has been.
    pub(super) fn next_round(&mut self) -> Option<Rollout> {
        while let Some(first) = self.rounds.front_mut().filter(|first| first.round.is_done()) {
            let Some(further) = first.wanted(&self.arguments.plan) else { return self.rounds.pop_front() };
            let (step, remembered) = (first.step, first.extend(further));
            self.replayed(step, remembered);
        }
        None
    }

    /// Issues tickets while there are permits, to earlier rounds first. Permits come back before the news that they do, so that every
    /// piece of news, even of a former incarnation's episodes, is a reason to try again.
    pub(super) fn admit(&mut self) {
        while let Some(rollout) = self.rounds.iter_mut().find(|rollout| !rollout.pending.is_empty()) {
            let Ok(permit) = Arc::clone(&self.arguments.permits).try_acquire_owned() else { return };
            let Some((episode, attempt)) = rollout.pending.pop_front() else { return };
            self.issued += 1;
            let LearnerArguments { plan, epoch, home, environment, deadlines, .. } = &self.arguments;
            let Place { split, index, sampling } = self.health.place(plan, episode);
            let seed = self.health.seed(plan, episode);
            let assignment = Assignment {
                episode,
                attempt,
                epoch: *epoch,
                conversation: (epoch << 32) | self.issued,
                split,
                index,
                sampling,
                stream: episode.stream(seed),
                group_stream: episode.group.stream(seed),
            };
            let ticket = Ticket::new(assignment, home.clone(), permit);
            if let Err(Undelivered(message)) = environment.send(EnvironmentMsg::Admit(ticket)) {
                let (environment, patience) = (environment.clone(), deadlines.environment);
                // If nobody comes in time the ticket is dropped, and so comes home.
                tokio::spawn(async move { drop(environment.post(message, patience).await) });
            }
        }
    }

    fn round_of(&mut self, episode: EpisodeId) -> Option<&mut Rollout> {
        self.rounds.iter_mut().find(|rollout| rollout.round.holds(episode))
    }

    /// An episode came home, finished. It is in the journal before the round can be used.
    pub(super) async fn completed(&mut self, epoch: u64, trajectory: Box<Trajectory>) -> Result<(), LearnerFailure> {
        let episode = trajectory.episode;
        let kept = (episode.group.purpose == Purpose::Train).then(|| trajectory.clone());
        let decision = self.round_of(episode).map(|rollout| {
            let decision = rollout.round.complete(epoch, trajectory);
            rollout.look_at_clock();
            decision
        });
        match decision {
            Some(Decision::Accept) => {
                self.arguments.instruments.vitals.episode_accepted();
                if let Some(trajectory) = kept {
                    self.write_down(Record::EpisodeAccepted(trajectory), Durability::Process).await?;
                }
            }
            Some(Decision::Duplicate) => tracing::warn!(%episode, "an episode came home twice"),
            Some(Decision::Stale | Decision::Reissue { .. } | Decision::GiveUp) | None => {}
        }
        self.advance().await
    }

    pub(super) async fn aborted(
        &mut self,
        epoch: u64,
        episode: EpisodeId,
        attempt: u32,
        failure: FailureKind,
    ) -> Result<(), LearnerFailure> {
        let decision = self.round_of(episode).map(|rollout| {
            let decision = rollout.round.abort(epoch, episode, attempt, &failure);
            // A conversation that was lost was lost to somebody else's failure, which says more.
            let says_so = failure != FailureKind::Abandoned || rollout.failure.is_none();
            if decision != Decision::Stale && says_so {
                rollout.failure = Some(failure.clone());
            }
            rollout.look_at_clock();
            decision
        });
        match decision {
            Some(Decision::Reissue { attempt: next, delay }) => {
                self.emit(Event::EpisodeRetried { episode, attempt, failure });
                self.myself.send_after(delay, move || LearnerMsg::Reissue { episode, attempt: next });
            }
            Some(Decision::GiveUp) => {
                self.emit(Event::EpisodeFailed { episode, attempts: attempt, failure: failure.clone() });
                if episode.group.purpose == Purpose::Train {
                    let record = Record::EpisodeFailed { episode, attempts: attempt, failure };
                    self.write_down(record, Durability::Process).await?;
                }
            }
            Some(Decision::Stale | Decision::Accept | Decision::Duplicate) | None => {}
        }
        self.advance().await
    }

    /// The wait before another attempt is over.
    pub(super) fn reissue(&mut self, episode: EpisodeId, attempt: u32) {
        let epoch = self.arguments.epoch;
        if let Some(rollout) = self.round_of(episode)
            && rollout.round.expects(epoch, episode, attempt)
        {
            rollout.pending.push_back((episode, attempt));
            self.admit();
        }
    }

    /// Uses the episodes of a round that is done.
    pub(super) async fn reap(&mut self, rollout: Rollout) -> Result<(), LearnerFailure> {
        let Rollout { task, round, seconds: rollout_seconds, consumed, committed, failure, .. } = rollout;
        let plan = &self.arguments.plan;
        let comparable = if task == Task::Train { comparable(plan) } else { 1 };
        let Harvest { groups, counts } = round.harvest(comparable);
        // A round that asked for nothing lacks nothing: the learner has something else to learn from.
        if groups.is_empty() && counts.started > 0 {
            let (step, failed, episodes) = (self.step, counts.failed, counts.started);
            let last = failure.map_or_else(|| "too few in each group".into(), |failure| failure.to_string());
            return Err(LearnerFailure::Barren { step, failed, episodes, last });
        }
        match task {
            Task::Train => {
                let summary = Summary::of(groups.iter().flat_map(|group| &group.members));
                let (groups, flat) = if plan.max_resamples > 0 {
                    let (groups, flat) = informative(groups);
                    (groups, Some(flat))
                } else {
                    (groups, None)
                };
                self.train(Batch { groups, summary, flat, counts, rollout_seconds, consumed, committed }).await?;
            }
            Task::Evaluate(purpose) => self.evaluate(purpose, groups, counts),
            Task::Finish => {}
        }
        Ok(())
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
            reward_std: summary.reward_std,
            samples,
        });
    }
}
