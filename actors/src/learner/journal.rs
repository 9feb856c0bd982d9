//! What the learner writes to the journal, and what it takes from it.
//!
//! The batch of a step is a function of the journal as far as that goes: an episode that is recorded is not rolled out again, and a step
//! whose whole batch is recorded is taken without a rollout. A journal that fails takes nothing away but that: what is missing is
//! rolled out again, to the same effect.

use std::sync::Arc;

use stateset_domain::{Digest, Durability, Entry, Record, StoreError};
use stateset_telemetry::Event;

use super::run::{Run, insist};
use super::{LearnerArguments, LearnerFailure};
use crate::policy::Recollection;
use crate::protocol::CheckpointerMsg;

/// Whether there is a journal to write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Journaling {
    /// Not by this incarnation: whoever cannot read what is there must not add to it.
    Off,
    /// Yes.
    On,
    /// Yes, but the last entry could not be written.
    Failing,
}

impl Run {
    /// Reads what the journal holds of the steps to come. A journal that is damaged is an error; one that cannot be read now is done
    /// without.
    pub(super) async fn recall(&mut self) -> Result<(), LearnerFailure> {
        let LearnerArguments { checkpointer, retries, deadlines, .. } = &self.arguments;
        let step = self.step;
        let cause = match insist(checkpointer, retries, deadlines.save, |reply| CheckpointerMsg::Recall { step, reply })
            .await
        {
            Ok(Ok(replay)) => {
                self.recollection = Recollection::of(replay.entries, step);
                self.journaling = Journaling::On;
                let (episodes, torn_bytes) = (self.recollection.episodes() as u64, replay.torn_bytes);
                if episodes > 0 || torn_bytes > 0 {
                    self.emit(Event::JournalRead { step, episodes, torn_bytes });
                }
                return Ok(());
            }
            Ok(Err(StoreError::Io { action, path, source })) => StoreError::Io { action, path, source }.to_string(),
            Ok(Err(damaged)) => return Err(LearnerFailure::Unreadable(damaged)),
            Err(error) => format!("the checkpointer {error}, asked for the journal"),
        };
        self.emit(Event::JournalFailed { step, cause });
        Ok(())
    }

    /// Writes `record`, and waits until it is written. One that cannot be written is told once, and the run goes on.
    pub(super) async fn write_down(&mut self, record: Record, durability: Durability) -> Result<(), LearnerFailure> {
        if self.journaling == Journaling::Off {
            return Ok(());
        }
        let entry = Arc::new(Entry { timeline: self.recollection.timeline(), record });
        let LearnerArguments { checkpointer, retries, deadlines, .. } = &self.arguments;
        let ask = |reply| CheckpointerMsg::Append { entry: Arc::clone(&entry), durability, reply };
        let cause = match insist(checkpointer, retries, deadlines.save, ask).await {
            Ok(Ok(())) => {
                self.journaling = Journaling::On;
                return Ok(());
            }
            Ok(Err(fenced @ StoreError::Fenced { .. })) => return Err(LearnerFailure::Unreadable(fenced)),
            Ok(Err(error)) => error.to_string(),
            Err(error) => format!("the checkpointer {error}"),
        };
        if self.journaling == Journaling::On {
            self.emit(Event::JournalFailed { step: self.step, cause });
        }
        self.journaling = Journaling::Failing;
        Ok(())
    }

    /// Begins a new timeline after the current step: nothing that is recorded of later ones will be used, by this incarnation or by any
    /// other.
    pub(super) async fn begin_timeline(&mut self, reason: String) -> Result<(), LearnerFailure> {
        let step = self.step;
        self.recollection.begin_timeline(step);
        self.write_down(Record::RunRestored { step, reason }, Durability::Power).await?;
        if self.journaling == Journaling::Failing {
            // What is there is not void, for all that a later reader knows.
            self.journaling = Journaling::Off;
        }
        Ok(())
    }

    /// Compares the weights that a step led to with those on record, and records them if there are none. Where they differ the rest of
    /// what is recorded was sampled by other weights.
    pub(super) async fn commit(&mut self, recorded: Option<Digest>, record: Record) -> Result<(), LearnerFailure> {
        let Record::StepCommitted { policy_digest: found, .. } = record else { return Ok(()) };
        match recorded {
            Some(recorded) if recorded == found => Ok(()),
            Some(recorded) => {
                self.emit(Event::ReplayDiverged { step: self.step, recorded, found });
                self.begin_timeline("a step that was taken again led to other weights".into()).await
            }
            None => self.write_down(record, Durability::Power).await,
        }
    }
}
