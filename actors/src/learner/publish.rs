//! New weights on their way to the engine.

use stateset_domain::PolicySnapshot;

use super::run::{Run, insist};
use super::{LearnerArguments, LearnerFailure};
use crate::protocol::InferenceMsg;

impl Run {
    /// Puts the weights where the engine finds them, and waits until it serves them.
    pub(super) async fn publish(&mut self, snapshot: PolicySnapshot) -> Result<(), LearnerFailure> {
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
}
