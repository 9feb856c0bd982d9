//! One optimizer step: it is taken on the learner's thread while the actor goes on hearing messages, and then recorded.

use std::sync::Arc;

use stateset_domain::{
    Digest, Durability, EpisodeCounts, Group, Learner, LearnerError, PolicySnapshot, Record, StepMetrics, StepReport,
};
use stateset_telemetry::Event;
use tokio::time::Instant;

use super::LearnerFailure;
use super::run::Run;
use crate::policy::Summary;
use crate::protocol::{HealthMsg, LearnerMsg};

/// What an optimizer step is taken on.
pub(super) struct Batch {
    pub(super) groups: Vec<Group>,
    /// Of all episodes that were rolled out for it, whether they are learned from or not.
    pub(super) summary: Summary,
    /// The share of their groups whose rewards are all equal, if such groups were to be made up for.
    pub(super) flat: Option<f64>,
    pub(super) counts: EpisodeCounts,
    pub(super) rollout_seconds: f64,
    /// The journal holds it already.
    pub(super) consumed: bool,
    /// The weights that it led to before, if the journal knows.
    pub(super) committed: Option<Digest>,
}

/// The optimizer step in flight: what is known of it before it is taken.
pub(super) struct Stepping {
    summary: Summary,
    flat: Option<f64>,
    counts: EpisodeCounts,
    rollout_seconds: f64,
    started: Instant,
    /// The weights that the step led to before, if the journal knows.
    recorded: Option<Digest>,
}

impl Run {
    /// Begins an optimizer step. [`LearnerMsg::StepTaken`] says how it went.
    pub(super) async fn train(&mut self, batch: Batch) -> Result<(), LearnerFailure> {
        let Batch { groups, summary, flat, counts, rollout_seconds, consumed, committed: recorded } = batch;
        if !consumed {
            let episodes = groups.iter().flat_map(|group| &group.members).map(|member| member.episode).collect();
            let record = Record::BatchConsumed { step: self.step + 1, episodes };
            self.write_down(record, Durability::Process).await?;
        }
        tracing::debug!(step = self.step, groups = groups.len(), "optimizer step begins");
        self.stepping = Some(Stepping { summary, flat, counts, rollout_seconds, started: Instant::now(), recorded });
        let step = move |learner: &mut Box<dyn Learner>| -> Result<_, LearnerError> {
            Ok((learner.step(&groups)?, learner.snapshot()?))
        };
        let (learner, myself) = (Arc::clone(&self.learner), self.myself.clone());
        tokio::spawn(async move {
            let outcome = match learner.ask(step).await {
                Ok(taken) => taken.map_err(LearnerFailure::from),
                Err(ended) => Err(ended.into()),
            };
            // A learner that is gone has no use for it.
            let _ = myself.cast(LearnerMsg::StepTaken { outcome });
        });
        Ok(())
    }

    /// The step in flight is over: publishes the weights, records it, saves now and then, and goes on.
    pub(super) async fn step_taken(
        &mut self,
        outcome: Result<(StepReport, PolicySnapshot), LearnerFailure>,
    ) -> Result<(), LearnerFailure> {
        let (report, snapshot) = outcome?;
        let Some(stepping) = self.stepping.take() else { return Ok(()) };
        let Stepping { summary, flat, counts, rollout_seconds, started, recorded } = stepping;
        // The learner has seen what was left of them.
        let report = StepReport { frac_zero_std_groups: flat.unwrap_or(report.frac_zero_std_groups), ..report };
        let train_seconds = started.elapsed().as_secs_f64();
        self.step += 1;
        self.episodes += counts;
        let mut metrics = StepMetrics {
            step: self.step,
            policy_version: snapshot.version(),
            reward_mean: summary.reward_mean,
            reward_std: summary.reward_std,
            success_rate: summary.success_rate,
            episodes_failed: counts.failed,
            rollout_tokens: summary.tokens,
            rollout_seconds,
            train_seconds,
            learner: report,
        };
        let (snapshot, verdict) = self.examine(&mut metrics, snapshot, counts.started).await?;
        let policy_digest = snapshot.digest();
        // What the run goes back from is never served.
        if verdict.rewind.is_none() {
            self.publish(snapshot).await?;
        }
        self.record(&metrics);
        self.commit(recorded, Record::StepCommitted { policy_digest, metrics }).await?;
        let rewound = self.heed(verdict).await?;
        if !rewound && self.arguments.plan.saves_at(self.step) {
            self.save().await?;
        }
        self.advance().await
    }

    fn record(&self, metrics: &StepMetrics) {
        self.arguments.instruments.vitals.step_taken();
        if metrics.learner.skipped {
            self.emit(Event::StepSkipped { step: self.step });
        }
        self.arguments.observer.on_step(metrics);
        // A monitor that is being restarted sees it in the counters.
        let _ = self.arguments.health.send(HealthMsg::Step);
    }
}
