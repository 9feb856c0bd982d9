//! A round in flight: tickets out as permits allow, tickets home, and what the harvest is for.

use std::collections::VecDeque;
use std::sync::Arc;

use stateset_domain::{EpisodeCounts, EpisodeId, FailureKind, Group, Purpose, Trajectory};
use stateset_telemetry::Event;
use tokio::time::Instant;

use super::run::Run;
use super::{LearnerArguments, LearnerFailure};
use crate::policy::{Decision, Harvest, Place, Round, Summary, Task};
use crate::protocol::{Assignment, EnvironmentMsg, Evaluation, LearnerMsg, Ticket, Undelivered};

/// Trajectories that an [`Evaluation`] shows.
const SAMPLES: usize = 8;

/// The round that is being rolled out.
pub(super) struct Rollout {
    pub(super) task: Task,
    pub(super) round: Round,
    pub(super) started: Instant,
    /// Why the episode that was given up on last failed.
    pub(super) failure: Option<FailureKind>,
    /// Attempts that wait for a permit, in order.
    pending: VecDeque<(EpisodeId, u32)>,
}

impl Rollout {
    pub(super) fn new(arguments: &LearnerArguments, task: Task, step: u64) -> Self {
        let episodes = arguments.plan.episodes(task, step);
        let pending = episodes.iter().map(|episode| (*episode, 1)).collect();
        let round = Round::new(arguments.epoch, arguments.retries, episodes);
        Self { task, round, started: Instant::now(), failure: None, pending }
    }
}

impl Run {
    /// Issues tickets while there are permits. Permits come back before the news that they do, so that every piece of news, even of a
    /// former incarnation's episodes, is a reason to try again.
    pub(super) fn admit(&mut self) {
        let Some(rollout) = &mut self.rollout else { return };
        while let Some((episode, attempt)) = rollout.pending.front().copied() {
            let Ok(permit) = Arc::clone(&self.arguments.permits).try_acquire_owned() else { return };
            rollout.pending.pop_front();
            self.issued += 1;
            let LearnerArguments { plan, epoch, home, environment, deadlines, .. } = &self.arguments;
            let Place { split, index, sampling } = plan.place(episode);
            let assignment = Assignment {
                episode,
                attempt,
                epoch: *epoch,
                conversation: (epoch << 32) | self.issued,
                split,
                index,
                sampling,
                stream: episode.stream(plan.seed),
                group_stream: episode.group.stream(plan.seed),
            };
            let ticket = Ticket::new(assignment, home.clone(), permit);
            if let Err(Undelivered(message)) = environment.send(EnvironmentMsg::Admit(ticket)) {
                let (environment, patience) = (environment.clone(), deadlines.environment);
                // If nobody comes in time the ticket is dropped, and so comes home.
                tokio::spawn(async move { drop(environment.post(message, patience).await) });
            }
        }
    }

    pub(super) async fn completed(&mut self, epoch: u64, trajectory: Box<Trajectory>) -> Result<(), LearnerFailure> {
        if let Some(rollout) = &mut self.rollout {
            let episode = trajectory.episode;
            match rollout.round.complete(epoch, trajectory) {
                Decision::Accept => self.arguments.instruments.vitals.episode_accepted(),
                Decision::Duplicate => tracing::warn!(%episode, "an episode came home twice"),
                Decision::Stale | Decision::Reissue { .. } | Decision::GiveUp => {}
            }
        }
        self.came_home().await
    }

    pub(super) async fn aborted(
        &mut self,
        epoch: u64,
        episode: EpisodeId,
        attempt: u32,
        failure: FailureKind,
    ) -> Result<(), LearnerFailure> {
        if let Some(rollout) = &mut self.rollout {
            match rollout.round.abort(epoch, episode, attempt, &failure) {
                Decision::Reissue { attempt: next, delay } => {
                    self.arguments.instruments.emit(Event::EpisodeRetried { episode, attempt, failure });
                    self.myself.send_after(delay, move || LearnerMsg::Reissue { episode, attempt: next });
                }
                Decision::GiveUp => {
                    rollout.failure = Some(failure.clone());
                    self.arguments.instruments.emit(Event::EpisodeFailed { episode, attempts: attempt, failure });
                }
                Decision::Stale | Decision::Accept | Decision::Duplicate => {}
            }
        }
        self.came_home().await
    }

    /// The wait before another attempt is over.
    pub(super) fn reissue(&mut self, episode: EpisodeId, attempt: u32) {
        if let Some(rollout) = &mut self.rollout
            && rollout.round.expects(self.arguments.epoch, episode, attempt)
        {
            rollout.pending.push_back((episode, attempt));
            self.admit();
        }
    }

    async fn came_home(&mut self) -> Result<(), LearnerFailure> {
        match self.rollout.take_if(|rollout| rollout.round.is_done()) {
            Some(done) => self.reap(done).await,
            None => {
                self.admit();
                Ok(())
            }
        }
    }

    /// Uses the episodes of a round that is done, and goes on.
    async fn reap(&mut self, rollout: Rollout) -> Result<(), LearnerFailure> {
        let comparable = if rollout.task == Task::Train { self.arguments.plan.group_size.min(2) } else { 1 };
        let seconds = rollout.started.elapsed().as_secs_f64();
        let Harvest { groups, counts } = rollout.round.harvest(comparable as usize);
        if groups.is_empty() {
            let (step, failed, episodes) = (self.step, counts.failed, counts.started);
            let last = rollout.failure.map_or_else(|| "too few in each group".into(), |failure| failure.to_string());
            return Err(LearnerFailure::Barren { step, failed, episodes, last });
        }
        match rollout.task {
            Task::Train => {
                self.train(groups, counts, seconds);
                return Ok(());
            }
            Task::Evaluate(purpose) => self.evaluate(purpose, groups, counts),
            Task::Finish => {}
        }
        self.advance().await
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
}
