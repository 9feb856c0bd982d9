//! The state between two steps on its way to the checkpointer.

use std::sync::Arc;

use stateset_domain::{Checkpoint, PolicySnapshot, Progress};
use stateset_telemetry::Event;

use super::run::{Run, insist};
use super::{LearnerArguments, LearnerFailure};
use crate::protocol::CheckpointerMsg;

impl Run {
    /// Saves the state between two steps. A checkpoint that cannot be written is not a reason to stop.
    pub(super) async fn save(&mut self) -> Result<(), LearnerFailure> {
        let Some(policy_digest) = self.policy.as_ref().map(PolicySnapshot::digest) else { return Ok(()) };
        let (step, episodes) = (self.step, self.episodes);
        tracing::debug!(step, "checkpoint begins");
        let LearnerArguments { plan, checkpointer, retries, deadlines, .. } = &self.arguments;
        let mut artifacts = self.learner.ask(|learner| learner.save()).await??;
        artifacts.push(self.remembered()?);
        let healthy = !self.health.doubtful;
        let progress = Progress { seed: plan.seed, step, episodes, policy_digest, healthy };
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
}
