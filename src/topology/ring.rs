//! The seven actors, their supervisors, and the ports between them.

use std::sync::Arc;
use std::time::Duration;

use ractor::Message;
use stateset_actors::policy::HealthPolicy;
use stateset_actors::protocol::{
    CheckpointerMsg, EnvironmentMsg, HealthMsg, InferenceMsg, JudgeMsg, LearnerMsg, PolicySlot, Port,
};
use stateset_actors::{
    CheckpointerActor, CheckpointerArguments, ConversationActor, ConversationArguments, ConversationSetup,
    ConversationSpawner, EnvironmentActor, EnvironmentArguments, HealthMonitorActor, HealthMonitorArguments,
    InferenceActor, InferenceArguments, JudgeActor, JudgeArguments, LearnerActor, LearnerArguments, Lease, SpawnFailed,
};
use stateset_supervisors::{Budgets, ChildSpec, Handle, Restart, Strategy, SupervisorHandle, SupervisorSpec};
use tokio::sync::Semaphore;

use super::{Parts, supervisor};

/// A conversation talks its whole episode through in one handler, and its ticket goes home whichever way it ends: there is nothing to
/// wait for.
const BRIEF: Budgets = Budgets {
    start: Duration::from_secs(5),
    drain: Duration::ZERO,
    stop: Duration::ZERO,
    kill: Duration::from_secs(1),
};

/// Where each actor can be reached, whichever incarnation of it is alive.
pub(super) struct Ring {
    learner: Handle<LearnerMsg>,
    environment: Handle<EnvironmentMsg>,
    inference: Handle<InferenceMsg>,
    judge: Handle<JudgeMsg>,
    checkpointer: Handle<CheckpointerMsg>,
    health: Handle<HealthMsg>,
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            learner: Handle::new("learner"),
            environment: Handle::new("environment"),
            inference: Handle::new("inference"),
            judge: Handle::new("judge"),
            checkpointer: Handle::new("checkpointer"),
            health: Handle::new("health_monitor"),
        }
    }
}

fn port<M: Message>(handle: &Handle<M>) -> Port<M> {
    let handle = handle.clone();
    Port::new(move |message| handle.send(message).map_err(|undelivered| undelivered.message))
}

impl Ring {
    pub(super) fn learner(&self) -> Port<LearnerMsg> {
        port(&self.learner)
    }

    /// The whole tree. Leases and permits are made once and shared by all incarnations.
    pub(super) fn root(&self, parts: Arc<Parts>, slot: Arc<PolicySlot>) -> SupervisorSpec {
        let lines = [
            ("persistence", Strategy::OneForOne, vec![self.checkpointer_child(&parts)]),
            ("learning", Strategy::RestForOne, vec![self.learner_child(&parts, &slot)]),
            ("serving-line", Strategy::OneForOne, vec![self.inference_child(&parts, &slot)]),
        ];
        let mut children: Vec<ChildSpec> = lines.into_iter().map(|line| nested(&parts, line)).collect();
        children.push(self.rollouts(&parts));
        children.push(nested(&parts, ("watch", Strategy::OneForOne, vec![self.health_child(&parts)])));
        supervisor(&SupervisorHandle::new("root"), Strategy::RestForOne, &parts.limits, children)
    }

    fn rollouts(&self, parts: &Arc<Parts>) -> ChildSpec {
        let handle = SupervisorHandle::new("rollouts");
        let spawn = self.conversation_spawner(parts, handle.clone());
        let children = vec![self.judge_child(parts), self.environment_child(parts, spawn)];
        let spec = supervisor(&handle, Strategy::OneForOne, &parts.limits, children);
        ChildSpec::supervisor(Restart::Permanent, spec)
    }

    fn conversation_spawner(&self, parts: &Arc<Parts>, rollouts: SupervisorHandle) -> ConversationSpawner {
        let setup = ConversationSetup {
            format: parts.format.clone(),
            max_context: parts.limits.max_context,
            inference: port(&self.inference),
            environment: port(&self.environment),
            judge: port(&self.judge),
            deadlines: parts.limits.deadlines,
            instruments: parts.instruments.clone(),
        };
        let patience = parts.limits.deadlines.environment;
        Arc::new(move |begin| {
            let name = format!("conversation-{}", begin.ticket.episode);
            let arguments = ConversationArguments { begin, setup: setup.clone() };
            let child = ChildSpec::once(&name, ConversationActor, arguments).with_budgets(BRIEF);
            let rollouts = rollouts.clone();
            Box::pin(
                async move { rollouts.spawn(child, patience).await.map_err(|error| SpawnFailed(error.to_string())) },
            )
        })
    }

    fn learner_child(&self, parts: &Arc<Parts>, slot: &Arc<PolicySlot>) -> ChildSpec {
        let permits = Arc::new(Semaphore::new(parts.limits.max_live_episodes));
        let arguments = LearnerArguments {
            build: parts.learner.clone(),
            plan: parts.plan.clone(),
            retries: parts.limits.retries,
            deadlines: parts.limits.deadlines,
            epoch: 0,
            permits,
            slot: slot.clone(),
            lease: Lease::default(),
            home: port(&self.learner),
            environment: port(&self.environment),
            inference: port(&self.inference),
            checkpointer: port(&self.checkpointer),
            health: port(&self.health),
            observer: parts.observer.clone(),
            instruments: parts.instruments.clone(),
        };
        ChildSpec::actor(&self.learner, Restart::Permanent, move |incarnation| {
            (LearnerActor, LearnerArguments { epoch: incarnation, ..arguments.clone() })
        })
    }

    fn inference_child(&self, parts: &Arc<Parts>, slot: &Arc<PolicySlot>) -> ChildSpec {
        let (build, instruments) = (parts.engine.clone(), parts.instruments.clone());
        let arguments = InferenceArguments { build, slot: slot.clone(), lease: Lease::default(), instruments };
        ChildSpec::actor(&self.inference, Restart::Permanent, move |_| (InferenceActor, arguments.clone()))
    }

    fn checkpointer_child(&self, parts: &Arc<Parts>) -> ChildSpec {
        let (build, instruments) = (parts.store.clone(), parts.instruments.clone());
        let arguments = CheckpointerArguments { build, lease: Lease::default(), instruments };
        ChildSpec::actor(&self.checkpointer, Restart::Permanent, move |_| (CheckpointerActor, arguments.clone()))
    }

    fn judge_child(&self, parts: &Arc<Parts>) -> ChildSpec {
        let arguments = JudgeArguments { reward: parts.reward.clone(), instruments: parts.instruments.clone() };
        ChildSpec::actor(&self.judge, Restart::Permanent, move |_| (JudgeActor, arguments.clone()))
    }

    fn environment_child(&self, parts: &Arc<Parts>, spawn: ConversationSpawner) -> ChildSpec {
        let (environment, instruments) = (parts.environment.clone(), parts.instruments.clone());
        let arguments = EnvironmentArguments { environment, spawn, instruments };
        ChildSpec::actor(&self.environment, Restart::Permanent, move |_| (EnvironmentActor, arguments.clone()))
    }

    fn health_child(&self, parts: &Arc<Parts>) -> ChildSpec {
        let episodes_per_step = u64::from(parts.plan.groups_per_step) * u64::from(parts.plan.group_size);
        let policy = HealthPolicy { limits: parts.limits.health.clone(), episodes_per_step };
        let (stall, instruments) = (parts.limits.stall, parts.instruments.clone());
        ChildSpec::actor(&self.health, Restart::Permanent, move |_| {
            let (policy, instruments) = (policy.clone(), instruments.clone());
            (HealthMonitorActor, HealthMonitorArguments { policy, stall, instruments })
        })
    }
}

fn nested(parts: &Parts, (name, strategy, children): (&str, Strategy, Vec<ChildSpec>)) -> ChildSpec {
    let spec = supervisor(&SupervisorHandle::new(name), strategy, &parts.limits, children);
    ChildSpec::supervisor(Restart::Permanent, spec)
}
