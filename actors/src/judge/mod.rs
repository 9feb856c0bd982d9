//! The judge actor: scores finished episodes and sends their tickets home.
//!
//! What can be computed is scored at once. What a model has to be asked for is scored by a task of its own, so that the actor always
//! takes the next episode; tasks are bounded by the permits that their tickets hold. While the model cannot be reached its tasks
//! wait, and rollouts slow down for want of permits; no episode is scored without it, and none fails for it.
//!
//! | When                     | What happens                                                                             |
//! |--------------------------|------------------------------------------------------------------------------------------|
//! | an answer is no judgement, again and again | the attempt at the episode has failed                                   |
//! | the model's server refuses | the actor fails with what it said: nobody's patience helps against a wrong key          |
//! | the actor stops or fails | its tasks are cancelled; their tickets go home abandoned, and the episodes are tried again |

mod drift;
mod model;

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use stateset_domain::{FailureKind, Trajectory};
use stateset_resilience::CallFailure;
use stateset_rewards::{Reward, RewardError, Score};
use thiserror::Error;
use tokio::task::JoinSet;

use crate::protocol::{Instruments, JudgeMsg, Site, Ticket};
pub use model::{Ask, ModelJudge, ModelJudgeSettings};

/// Runs a [`Reward`], and asks a model if there is one.
#[derive(Debug, Clone, Copy, Default)]
pub struct JudgeActor;

/// What a [`JudgeActor`] starts with.
#[derive(Clone)]
pub struct JudgeArguments {
    /// Scores episodes.
    pub reward: Arc<dyn Reward>,
    /// Scores them further. One for all incarnations.
    pub model: Option<Arc<ModelJudge>>,
    /// What to report through.
    pub instruments: Instruments,
}

/// The model's server refuses.
#[derive(Debug, Error)]
#[error("the judge cannot go on: {0}")]
pub struct JudgeRefused(String);

/// A judge at work. Its tasks end with it.
pub struct Judging {
    arguments: JudgeArguments,
    tasks: JoinSet<()>,
}

impl Actor for JudgeActor {
    type Msg = JudgeMsg;
    type State = Judging;
    type Arguments = JudgeArguments;

    async fn pre_start(
        &self,
        _myself: ActorRef<JudgeMsg>,
        arguments: JudgeArguments,
    ) -> Result<Judging, ActorProcessingErr> {
        Ok(Judging { arguments, tasks: JoinSet::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<JudgeMsg>,
        message: JudgeMsg,
        judging: &mut Judging,
    ) -> Result<(), ActorProcessingErr> {
        judging.arguments.instruments.visit(Site::Judge).await?;
        match message {
            JudgeMsg::Score { ticket, trajectory } => judging.score(ticket, trajectory, myself)?,
            JudgeMsg::Refused { cause } => return Err(JudgeRefused(cause).into()),
        }
        Ok(())
    }
}

impl Judging {
    fn score(
        &mut self,
        ticket: Ticket,
        mut trajectory: Box<Trajectory>,
        myself: ActorRef<JudgeMsg>,
    ) -> Result<(), ActorProcessingErr> {
        let JudgeArguments { reward, model, instruments: _ } = &self.arguments;
        match (reward.score(&trajectory), model) {
            (Err(RewardError(cause)), _) => ticket.fail(FailureKind::Judge(cause)),
            (Ok(score), None) => {
                earn(&mut trajectory, score);
                ticket.complete(*trajectory);
            }
            (Ok(checks), Some(model)) => {
                let task = ask(Arc::clone(model), checks, ticket, trajectory, myself);
                self.tasks.spawn(task);
            }
        }
        while let Some(ended) = self.tasks.try_join_next() {
            ended?;
        }
        Ok(())
    }
}

fn earn(trajectory: &mut Trajectory, score: Score) {
    trajectory.reward = Some(score.total);
    trajectory.reward_terms = score.terms;
}

async fn ask(
    model: Arc<ModelJudge>,
    checks: Score,
    ticket: Ticket,
    mut trajectory: Box<Trajectory>,
    judge: ActorRef<JudgeMsg>,
) {
    match model.score(checks, &trajectory).await {
        Ok(score) => {
            earn(&mut trajectory, score);
            ticket.complete(*trajectory);
            model.judge_again().await;
        }
        Err(failure) => {
            let cause = failure.to_string();
            ticket.fail(FailureKind::Judge(cause.clone()));
            if let CallFailure::Refused(_) = failure {
                // A judge that has ended has said so already.
                let _ = judge.cast(JudgeMsg::Refused { cause });
            }
        }
    }
}
