//! The kinds of this program: the seven actors of the ring.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use stateset_actors::protocol::{
    Begin, CheckpointerMsg, EnvironmentMsg, HealthMsg, InferenceMsg, JudgeMsg, LearnerMsg, Settings,
};
use stateset_actors::{
    CheckpointerActor, CheckpointerArguments, ConversationActor, ConversationArguments, ConversationSetup,
    ConversationSpawner, EnvironmentActor, EnvironmentArguments, HealthMonitorActor, HealthMonitorArguments,
    InferenceActor, InferenceArguments, JudgeActor, JudgeArguments, LearnerActor, LearnerArguments, Lease, SpawnFailed,
};
use stateset_faults::Site;
use stateset_supervisors::{Budgets, ChildSpec, SupervisorHandle};

use super::current::Current;
use super::kind::{Kind, Number};
use super::seat::{Address, Filled, Opened, Place, Seat, SeatError};
use crate::faults::messages::{self, meddle};

/// The learner's kind, which every topology has exactly one of.
pub(super) const LEARNER: &str = "learner";

/// A conversation talks its whole episode through in one handler, and its ticket goes home whichever way it ends: there is nothing to
/// wait for.
const BRIEF: Budgets = Budgets {
    start: Duration::from_secs(5),
    drain: Duration::ZERO,
    stop: Duration::ZERO,
    kill: Duration::from_secs(1),
};

pub(super) fn kinds() -> [Kind; 7] {
    [
        Kind::new(LEARNER, learner)
            .number(Number::One)
            .sends::<EnvironmentMsg>("environment", "episode tickets")
            .calls::<InferenceMsg>("inference", "policy snapshot")
            .calls::<CheckpointerMsg>("checkpointer", "checkpoint")
            .may_send::<HealthMsg>("health_monitor", "step taken"),
        Kind::new("environment", environment).number(Number::One).pooled().sends::<Begin>("conversations", "scenario"),
        Kind::opened::<Begin>("conversation", Arc::new(conversations))
            .number(Number::One)
            .passing()
            .calls::<InferenceMsg>("inference", "tokens, for a reply")
            .calls::<EnvironmentMsg>("environment", "reply, for what is said next")
            .sends::<JudgeMsg>("judge", "trajectory"),
        Kind::new("inference", inference).number(Number::One),
        Kind::new("judge", judge).number(Number::One).pooled().settles("scored trajectory"),
        Kind::new("checkpointer", checkpointer).number(Number::One),
        Kind::new("health_monitor", health_monitor).number(Number::AtMostOne),
    ]
}

fn learner(seat: &Seat<'_, LearnerMsg>) -> Result<ChildSpec, SeatError> {
    let common = seat.common();
    let current = common.current.clone();
    let Settings { deadlines, retries, .. } = current.settings();
    let faults = common.parts.injector.as_ref();
    let arguments = LearnerArguments {
        build: common.parts.learner.clone(),
        plan: common.parts.plan.clone(),
        policies: common.parts.policies.clone(),
        retries,
        deadlines,
        settings: Arc::new(move || current.settings()),
        epoch: 0,
        permits: common.permits.clone(),
        slot: common.slot.clone(),
        lease: Lease::patient(deadlines.thread),
        home: meddle(seat.home(), Site::ToLearner, faults, messages::to_learner),
        environment: meddle(seat.port("environment")?, Site::ToEnvironment, faults, messages::unique),
        inference: meddle(seat.port("inference")?, Site::ToInference, faults, messages::to_inference),
        checkpointer: meddle(seat.port("checkpointer")?, Site::ToCheckpointer, faults, messages::to_checkpointer),
        health: meddle(seat.port("health_monitor")?, Site::ToHealthMonitor, faults, messages::to_health),
        observer: common.parts.observer.clone(),
        instruments: seat.instruments(),
    };
    Ok(seat.actor(move |incarnation| (LearnerActor, LearnerArguments { epoch: incarnation, ..arguments.clone() })))
}

fn inference(seat: &Seat<'_, InferenceMsg>) -> Result<ChildSpec, SeatError> {
    let (build, slot) = (seat.common().parts.engine.clone(), seat.common().slot.clone());
    let lease = Lease::patient(seat.common().current.settings().deadlines.thread);
    let arguments = InferenceArguments { build, slot, lease, instruments: seat.instruments() };
    Ok(seat.actor(move |_| (InferenceActor, arguments.clone())))
}

fn checkpointer(seat: &Seat<'_, CheckpointerMsg>) -> Result<ChildSpec, SeatError> {
    let (build, journal) = (seat.common().parts.store.clone(), seat.common().parts.journal.clone());
    let lease = Lease::patient(seat.common().current.settings().deadlines.thread);
    let arguments = CheckpointerArguments { build, journal, lease, instruments: seat.instruments() };
    Ok(seat.actor(move |_| (CheckpointerActor, arguments.clone())))
}

fn judge(seat: &Seat<'_, JudgeMsg>) -> Result<ChildSpec, SeatError> {
    let (reward, model) = (seat.common().parts.reward.clone(), seat.common().parts.judge.clone());
    let arguments = JudgeArguments { reward, model, instruments: seat.instruments() };
    Ok(seat.actor(move |_| (JudgeActor, arguments.clone())))
}

fn environment(seat: &Seat<'_, EnvironmentMsg>) -> Result<ChildSpec, SeatError> {
    let environment = seat.common().parts.environment.clone();
    let spawn: ConversationSpawner = seat.required("conversations")?;
    let arguments = EnvironmentArguments { environment, spawn, instruments: seat.instruments() };
    Ok(seat.actor(move |_| (EnvironmentActor, arguments.clone())))
}

fn health_monitor(seat: &Seat<'_, HealthMsg>) -> Result<ChildSpec, SeatError> {
    let parts = &seat.common().parts;
    let (current, restart, instruments) = (seat.common().current.clone(), parts.restart.clone(), seat.instruments());
    Ok(seat.actor(move |_| {
        let stall = current.now().config.supervision.deadlines.stall;
        let (restart, instruments) = (restart.clone(), instruments.clone());
        (HealthMonitorActor, HealthMonitorArguments { stall, restart, instruments })
    }))
}

/// Conversations are started one by one, by the environment: what stands behind their address is known once they are wired.
fn conversations() -> Opened {
    let wired: Arc<OnceLock<ConversationSpawner>> = Arc::default();
    let late = wired.clone();
    let spawner: ConversationSpawner = Arc::new(move |begin| match late.get() {
        Some(spawn) => spawn(begin),
        // Its ticket is dropped, and so comes home.
        None => Box::pin(async { Err(SpawnFailed("conversations are not wired yet".into())) }),
    });
    let fill = move |place: &Place<'_>| {
        // Filled once: a conversation is told nothing that could change.
        let _ = wired.set(spawner_under(place.supervisor.clone(), setup(place)?, place.common.current.clone()));
        Ok(Filled { children: Vec::new(), seat: Box::new(|| ()), is_up: Box::new(|| true) })
    };
    Opened { address: Address::new(spawner), fill: Arc::new(fill) }
}

fn setup(place: &Place<'_>) -> Result<ConversationSetup, SeatError> {
    let parts = &place.common.parts;
    let faults = parts.injector.as_ref();
    Ok(ConversationSetup {
        format: parts.format.clone(),
        max_context: place.common.current.now().config.agent.max_context,
        inference: meddle(place.required("inference")?, Site::ToInference, faults, messages::to_inference),
        environment: meddle(
            place.required("environment")?,
            Site::ToEnvironment,
            faults,
            messages::unique::<EnvironmentMsg>,
        ),
        judge: meddle(place.required("judge")?, Site::ToJudge, faults, messages::unique::<JudgeMsg>),
        deadlines: place.common.current.settings().deadlines,
        instruments: parts.instruments.clone(),
    })
}

fn spawner_under(supervisor: SupervisorHandle, setup: ConversationSetup, current: Current) -> ConversationSpawner {
    Arc::new(move |begin| {
        let name = format!("conversation-{}", begin.ticket.episode);
        let deadlines = current.settings().deadlines;
        let arguments = ConversationArguments { begin, setup: ConversationSetup { deadlines, ..setup.clone() } };
        let child = ChildSpec::once(&name, ConversationActor, arguments).with_budgets(BRIEF);
        let (supervisor, patience) = (supervisor.clone(), deadlines.environment);
        Box::pin(async move { supervisor.spawn(child, patience).await.map_err(|error| SpawnFailed(error.to_string())) })
    })
}
