//! Faults on the way between two actors: a message is lost, comes twice, or late.

use std::sync::Arc;
use std::time::Duration;

use ractor::Message;
use stateset_actors::protocol::{CheckpointerMsg, HealthMsg, InferenceMsg, LearnerMsg, Port};
use stateset_faults::{Injector, Kind, Site};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// How long a late message knocks at a port with nobody behind it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A copy of a message, if it can be copied.
type Twin<M> = fn(&M) -> Option<M>;

/// `port`, with the faults of `site`. To be called within the runtime that is to deliver what is late.
pub(crate) fn meddle<M: Message>(
    port: Port<M>,
    site: Site,
    injector: Option<&Arc<Injector>>,
    twin: Twin<M>,
) -> Port<M> {
    let Some(injector) = injector.cloned() else { return port };
    let runtime = Handle::current();
    Port::new(move |message| {
        let Some(injected) = injector.visit(site) else { return send(&port, message) };
        match injected.fault.kind {
            Kind::Drop => drop(message),
            Kind::Duplicate => {
                // Whether or not the copy arrives, the message itself is what counts.
                let _ = twin(&message).map(|twin| port.send(twin));
                return send(&port, message);
            }
            _ => {
                let (port, late) = (port.clone(), injected.fault.lasts);
                runtime.spawn(async move {
                    tokio::time::sleep(late).await;
                    drop(port.post(message, PATIENCE).await);
                });
            }
        }
        Ok(())
    })
}

fn send<M: Message>(port: &Port<M>, message: M) -> Result<(), M> {
    port.send(message).map_err(|undelivered| undelivered.0)
}

/// What carries a ticket or a session exists once.
pub(crate) fn unique<M>(_message: &M) -> Option<M> {
    None
}

pub(crate) fn to_learner(message: &LearnerMsg) -> Option<LearnerMsg> {
    Some(match message {
        LearnerMsg::Begin | LearnerMsg::StepTaken { .. } | LearnerMsg::Resume { .. } => return None,
        LearnerMsg::Completed { epoch, trajectory } => {
            LearnerMsg::Completed { epoch: *epoch, trajectory: trajectory.clone() }
        }
        LearnerMsg::Aborted { episode, attempt, epoch, failure } => {
            LearnerMsg::Aborted { episode: *episode, attempt: *attempt, epoch: *epoch, failure: failure.clone() }
        }
        LearnerMsg::Reissue { episode, attempt } => LearnerMsg::Reissue { episode: *episode, attempt: *attempt },
        LearnerMsg::Interrupt => LearnerMsg::Interrupt,
    })
}

/// The answer to a copy reaches nobody.
pub(crate) fn to_inference(message: &InferenceMsg) -> Option<InferenceMsg> {
    Some(match message {
        InferenceMsg::Load { .. } => InferenceMsg::Load { reply: oneshot::channel().0 },
        InferenceMsg::Generate { prompt, .. } => {
            InferenceMsg::Generate { prompt: prompt.clone(), reply: oneshot::channel().0 }
        }
        InferenceMsg::Release { conversation } => InferenceMsg::Release { conversation: *conversation },
        InferenceMsg::Ended { .. } => return None,
    })
}

/// The answer to a copy reaches nobody.
pub(crate) fn to_checkpointer(message: &CheckpointerMsg) -> Option<CheckpointerMsg> {
    Some(match message {
        CheckpointerMsg::Save { checkpoint, .. } => {
            CheckpointerMsg::Save { checkpoint: checkpoint.clone(), reply: oneshot::channel().0 }
        }
        CheckpointerMsg::LatestHealthy { at_most, .. } => {
            CheckpointerMsg::LatestHealthy { at_most: *at_most, reply: oneshot::channel().0 }
        }
        CheckpointerMsg::ForgetAfter { step, .. } => {
            CheckpointerMsg::ForgetAfter { step: *step, reply: oneshot::channel().0 }
        }
        CheckpointerMsg::Latest { .. } => CheckpointerMsg::Latest { reply: oneshot::channel().0 },
        CheckpointerMsg::Append { entry, durability, .. } => {
            CheckpointerMsg::Append { entry: entry.clone(), durability: *durability, reply: oneshot::channel().0 }
        }
        CheckpointerMsg::Recall { step, .. } => CheckpointerMsg::Recall { step: *step, reply: oneshot::channel().0 },
    })
}

pub(crate) fn to_health(message: &HealthMsg) -> Option<HealthMsg> {
    Some(match message {
        HealthMsg::Step => HealthMsg::Step,
        HealthMsg::Tick => HealthMsg::Tick,
        HealthMsg::Finished => HealthMsg::Finished,
    })
}
