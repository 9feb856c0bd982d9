//! The judge actor: scores finished episodes and sends their tickets home.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use stateset_domain::FailureKind;
use stateset_rewards::{Reward, RewardError};

use crate::protocol::{Instruments, JudgeMsg, Site};

/// Runs a [`Reward`].
#[derive(Debug, Clone, Copy, Default)]
pub struct JudgeActor;

/// What a [`JudgeActor`] starts with.
#[derive(Clone)]
pub struct JudgeArguments {
    /// Scores episodes.
    pub reward: Arc<dyn Reward>,
    /// What to report through.
    pub instruments: Instruments,
}

impl Actor for JudgeActor {
    type Msg = JudgeMsg;
    type State = JudgeArguments;
    type Arguments = JudgeArguments;

    async fn pre_start(
        &self,
        _myself: ActorRef<JudgeMsg>,
        arguments: JudgeArguments,
    ) -> Result<JudgeArguments, ActorProcessingErr> {
        Ok(arguments)
    }

    async fn handle(
        &self,
        _myself: ActorRef<JudgeMsg>,
        JudgeMsg::Score { ticket, mut trajectory }: JudgeMsg,
        state: &mut JudgeArguments,
    ) -> Result<(), ActorProcessingErr> {
        state.instruments.visit(Site::Judge);
        match state.reward.score(&trajectory) {
            Ok(score) => {
                trajectory.reward = Some(score.total);
                ticket.complete(*trajectory);
            }
            Err(RewardError(cause)) => ticket.fail(FailureKind::Judge(cause)),
        }
        Ok(())
    }
}
