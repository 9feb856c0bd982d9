//! Where a run begins: at the latest checkpoint, if there is one, with what the journal holds beyond it.

use stateset_domain::Progress;
use stateset_telemetry::Event;

use super::run::{Run, insist};
use super::{LearnerArguments, LearnerFailure};
use crate::protocol::CheckpointerMsg;

impl Run {
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
        self.recall().await?;
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
        let Some(checkpoint) = latest.map_err(LearnerFailure::Unread)?? else { return Ok(None) };
        let progress = checkpoint.progress.clone();
        if progress.seed != plan.seed {
            return Err(LearnerFailure::Seed { expected: plan.seed, found: progress.seed });
        }
        let health = self.go_back_to(checkpoint).await?;
        self.remember(health).await?;
        Ok(Some(progress))
    }
}
