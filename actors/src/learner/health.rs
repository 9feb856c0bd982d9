//! What health rules make of the run, between two steps.
//!
//! The rules are asked here, after every step and in order, and not by whoever watches: what they decide is then as reproducible as the
//! steps themselves. Everything they remember is saved with the weights.

use std::mem;

use stateset_domain::{
    Artifact, Checkpoint, Durability, EpisodeCounts, LearnerError, PolicySnapshot, Purpose, Record, Ruling, StepMetrics,
};
use stateset_telemetry::Event;

use super::run::{Run, insist};
use super::{LearnerArguments, LearnerFailure};
use crate::policy::{Beside, Health, Verdict};
use crate::protocol::CheckpointerMsg;

/// The file of a checkpoint that holds what is remembered.
const REMEMBERED: &str = "health.json";

impl Run {
    /// Looks at a step that has `asked` for so many episodes, before its weights are published. A step that is to be taken back is.
    pub(super) async fn examine(
        &mut self,
        metrics: &mut StepMetrics,
        snapshot: PolicySnapshot,
        asked: u64,
    ) -> Result<(PolicySnapshot, Verdict), LearnerFailure> {
        let sound = snapshot.tensors().iter().all(|tensor| tensor.data.iter().all(|value| value.is_finite()));
        let planned = u64::from(self.arguments.plan.groups_per_step) * u64::from(self.arguments.plan.group_size);
        let rounds = asked as f64 / planned.max(1) as f64;
        let beside = Beside { sound, judge_drift: self.arguments.instruments.health.judge_drift(), rounds };
        let verdict = self.health.examine(&self.arguments.policies, metrics, beside);
        if !verdict.skip {
            return Ok((snapshot, verdict));
        }
        metrics.learner.skipped = true;
        let snapshot = self.learner.ask(|learner| learner.undo().and_then(|()| learner.snapshot())).await??;
        Ok((snapshot, verdict))
    }

    /// Carries out what was decided about a step that is recorded, and published unless the run goes back. Whether it has.
    pub(super) async fn heed(&mut self, verdict: Verdict) -> Result<bool, LearnerFailure> {
        let Verdict { rulings, status, rewind, pause, .. } = verdict;
        self.arguments.instruments.health.learned(status);
        if !rulings.is_empty() {
            self.adjust().await?;
        }
        let cause = rulings.iter().map(|ruling| ruling.rule.as_str()).collect::<Vec<_>>().join(", ");
        for ruling in rulings {
            if ruling.acts() {
                let directive =
                    serde_json::to_string(&ruling).map_err(|error| LearnerError::State(error.to_string()))?;
                let record = Record::DirectiveApplied { step: self.step, format: 1, directive };
                self.write_down(record, Durability::Process).await?;
            }
            self.tell(ruling);
        }
        if let Some(time) = pause {
            self.paused = true;
            self.pause_for(time);
        }
        if let Some(at_most) = rewind {
            self.rewind(at_most, &cause).await?;
        }
        Ok(rewind.is_some())
    }

    /// Looks at the evaluation of the policy as it is, if one was made.
    pub(super) fn hear_evaluation(&mut self) {
        let step = self.step;
        if let Some(success_rate) = self.arguments.observer.evaluation(step, Purpose::EvaluateSampled)
            && let Some(ruling) = self.health.evaluated(&self.arguments.policies, step, success_rate)
        {
            self.tell(ruling);
        }
    }

    fn tell(&self, ruling: Ruling) {
        self.emit(Event::Ruled(ruling));
    }

    async fn adjust(&self) -> Result<(), LearnerFailure> {
        let adjustments = self.health.adjustments;
        Ok(self.learner.ask(move |learner| learner.adjust(&adjustments)).await?)
    }

    /// What is remembered, as a file of a checkpoint.
    pub(super) fn remembered(&self) -> Result<Artifact, LearnerFailure> {
        let bytes = serde_json::to_vec(&self.health).map_err(|error| LearnerError::State(error.to_string()))?;
        Ok(Artifact { name: REMEMBERED.into(), bytes })
    }

    /// Goes back to what a checkpoint holds. The health it was saved with, for whoever wants it.
    pub(super) async fn go_back_to(&mut self, checkpoint: Checkpoint) -> Result<Health, LearnerFailure> {
        let Checkpoint { progress, artifacts } = checkpoint;
        let remembered = artifacts.iter().find(|artifact| artifact.name == REMEMBERED);
        let health = remembered.map(|artifact| serde_json::from_slice(&artifact.bytes)).transpose();
        let health = health.map_err(|error| LearnerError::State(format!("{REMEMBERED}: {error}")))?.unwrap_or_default();
        self.learner.ask(move |learner| learner.restore(&artifacts)).await??;
        (self.step, self.episodes, self.saved) = (progress.step, progress.episodes, Some(progress.step));
        Ok(health)
    }

    /// Takes over what was remembered.
    pub(super) async fn remember(&mut self, health: Health) -> Result<(), LearnerFailure> {
        self.health = health;
        self.adjust().await
    }

    /// Goes back to the newest healthy checkpoint of a step up to `at_most`, or to the beginning if there is none, and keeps what was
    /// decided.
    ///
    /// The journal begins another timeline, then that is written down, then the checkpoints that the run leaves behind are dropped. Whenever it is killed, it goes on either from
    /// where it has gone back to, or from before the decision, which is then made again.
    async fn rewind(&mut self, at_most: u64, cause: &str) -> Result<(), LearnerFailure> {
        let LearnerArguments { checkpointer, retries, deadlines, build, .. } = self.arguments.clone();
        let from = self.step;
        let ask = |reply| CheckpointerMsg::LatestHealthy { at_most, reply };
        let healthy = insist(&checkpointer, &retries, deadlines.save, ask);
        let then = match healthy.await.map_err(LearnerFailure::Unread)?? {
            Some(checkpoint) => Some(self.go_back_to(checkpoint).await?),
            None => {
                let rebuild =
                    move |learner: &mut Box<dyn stateset_domain::Learner>| build().map(|base| *learner = base);
                self.learner.ask(rebuild).await??;
                (self.step, self.episodes) = (0, EpisodeCounts::default());
                None
            }
        };
        let health = mem::take(&mut self.health).rewound(then);
        self.remember(health).await?;
        let (step, snapshot) = (self.step, self.learner.ask(|learner| learner.snapshot()).await??);
        self.publish(snapshot).await?;
        self.evaluated.retain(|(evaluated, _)| *evaluated <= step);
        // What is still under way was sampled by a policy that is no more; to its tickets this is another incarnation.
        self.rounds.clear();
        self.arguments.epoch += 1 << 20;
        self.begin_timeline(format!("{cause}, after step {from}")).await?;
        self.save().await?;
        let forget = |reply| CheckpointerMsg::ForgetAfter { step, reply };
        insist(&checkpointer, &retries, deadlines.save, forget).await.map_err(LearnerFailure::Unread)??;
        self.emit(Event::Restored { step, cause: format!("{cause}, after step {from}") });
        self.arguments.observer.on_restored(step);
        Ok(())
    }
}
