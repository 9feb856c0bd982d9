//! A supervisor's children, and the carrying out of what the policy decides about them.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use ractor::{ActorId, ActorRef};
use stateset_telemetry::{Event as Fact, ExitCause, StopMeans};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::child_spec::Environment;
use crate::handover::Slot;
use crate::incarnation::ExitNote;
use crate::line::Branch;
use crate::policy::{ChildKey, ChildRules, Decision, Event, Plan, SetAside, Supervision, Ticket};
use crate::supervisor::{Message, SupervisorSpec};
use crate::{ChildSpec, GaveUp, GiveUpReason, Incarnation, Restart, StartContext, StartError, State, Stopped};

pub(crate) struct Family {
    name: String,
    myself: ActorRef<Message>,
    environment: Environment,
    policy: Supervision,
    born: Instant,
    children: BTreeMap<ChildKey, Child>,
    by_actor: HashMap<ActorId, ChildKey>,
    /// The children as others see them.
    branch: Arc<Branch>,
}

struct Child {
    spec: ChildSpec,
    dynamic: bool,
    incarnation: u64,
    live: Option<Incarnation>,
    gave_up: Option<GaveUp>,
    /// What it leaves for its next incarnation.
    slot: Slot,
}

/// What an event means for the supervisor.
pub(crate) enum Outcome {
    /// It goes on.
    Goes,
    /// It is done.
    Finishes,
    /// It cannot go on.
    GivesUp(Box<GaveUp>),
}

impl Child {
    /// Dynamic children that are not restarted come and go by the thousand; only their failures are news.
    fn is_passing(&self) -> bool {
        self.dynamic && self.spec.restart == Restart::Temporary
    }
}

impl Family {
    pub(crate) fn new(spec: &SupervisorSpec, myself: ActorRef<Message>, environment: Environment) -> Self {
        let branch = Branch::new(spec.strategy, myself.clone());
        spec.handle.line().set_branch(Arc::clone(&branch));
        let waits = environment.random.fork(0);
        Self {
            name: spec.handle.name().into(),
            myself,
            environment,
            policy: Supervision::new(spec.rules(), waits),
            born: Instant::now(),
            children: BTreeMap::new(),
            by_actor: HashMap::new(),
            branch,
        }
    }

    /// Starts a new child, after all others.
    pub(crate) async fn add(&mut self, spec: ChildSpec, dynamic: bool) -> Result<ChildKey, StartError> {
        let ChildSpec { restart, significant, intensity, .. } = spec;
        let rules = ChildRules { restart, significant, intensity };
        let key = self.policy.add(rules).map_err(|refused| StartError::Refused(refused.to_string()))?;
        spec.line.adopt(&self.environment.dead);
        self.branch.insert(key, Arc::clone(&spec.line), dynamic);
        let slot = Slot::default();
        self.children.insert(key, Child { spec, dynamic, incarnation: 0, live: None, gave_up: None, slot });
        match self.start(key).await {
            Ok(()) => {
                self.decide(Event::Started { child: key });
                Ok(key)
            }
            Err(error) => {
                self.forget(key);
                self.policy.forget(key);
                Err(error)
            }
        }
    }

    /// Takes back a child that was just added.
    pub(crate) async fn revoke(&mut self, key: ChildKey) {
        self.stop(key).await;
        self.forget(key);
        self.policy.forget(key);
    }

    fn forget(&mut self, key: ChildKey) {
        self.children.remove(&key);
        self.branch.remove(key);
    }

    /// The child of that name, if it is one that can be restarted.
    pub(crate) fn restartable(&self, name: &str) -> Option<ChildKey> {
        let named = |child: &Child| child.spec.name == name && child.spec.restart != Restart::Temporary;
        self.children.iter().find(|(_, child)| named(child)).map(|(key, _)| *key)
    }

    /// Takes in the end of an incarnation. `failure` is ractor's text if it failed.
    pub(crate) async fn exited(&mut self, actor: ActorId, failure: Option<String>) -> Outcome {
        // Unknown are those that were stopped on purpose just after they had ended.
        let Some(key) = self.by_actor.remove(&actor) else { return Outcome::Goes };
        let Some(child) = self.children.get_mut(&key) else { return Outcome::Goes };
        let Some(mut incarnation) = child.live.take() else { return Outcome::Goes };
        let cause = incarnation.exit_cause(failure);
        child.gave_up = incarnation.note().take_gave_up();
        let unstoppable = child.gave_up.as_ref().is_some_and(|inner| inner.reason == GiveUpReason::Unstoppable);
        // The event comes before the task is over: what it holds may still be in use.
        let gone = incarnation.is_gone() || timeout(child.spec.budgets.to_end(), incarnation.gone()).await.is_ok();
        child.spec.line.ended(Some(&cause));
        if !gone {
            child.spec.line.enter(State::Zombie);
        }
        self.report_exit(key, &cause);
        self.on_event(if gone && !unstoppable {
            Event::Exited { child: key, cause }
        } else {
            Event::Unstoppable { child: key, cause }
        })
        .await
    }

    /// Asks the policy, and does as it says.
    pub(crate) async fn on_event(&mut self, event: Event) -> Outcome {
        let mut decisions = self.decide(event);
        // A child that cannot be started is not tried again before others had their turn.
        let mut at_once = true;
        while let Some(decision) = decisions.pop_front() {
            match decision {
                Decision::Stop(child) => {
                    if self.stop(child).await.iter().any(|stopped| stopped.means == StopMeans::Zombie) {
                        decisions = self.decide(Event::Unstoppable { child, cause: ExitCause::Killed });
                    }
                }
                Decision::Forget(child) => self.forget(child),
                Decision::Restart(plan) => decisions.extend(self.arm(plan, at_once)),
                Decision::Start(child) => match self.start(child).await {
                    Ok(()) => drop(self.decide(Event::Started { child })),
                    Err(error) => {
                        at_once = false;
                        decisions =
                            self.decide(Event::Exited { child, cause: ExitCause::StartFailed(error.to_string()) });
                    }
                },
                Decision::SetAside(aside) => self.set_aside(aside),
                Decision::Finish { child } => {
                    self.tell(Fact::SupervisorFinished {
                        supervisor: self.name.clone(),
                        child: self.child_name(child),
                    });
                    return Outcome::Finishes;
                }
                Decision::GiveUp { child, cause, reason, restarts_in_window } => {
                    return Outcome::GivesUp(Box::new(self.give_up(child, cause, reason, restarts_in_window)));
                }
            }
        }
        Outcome::Goes
    }

    fn decide(&mut self, event: Event) -> VecDeque<Decision> {
        self.policy.on_event(event, self.born.elapsed()).into()
    }

    /// Sees to it that a restart is due when its wait is over. Returns what to do if that is now.
    ///
    /// Even without a wait, a restart of several children goes through the mailbox: supervision events overtake messages, so whatever
    /// they left in the queue by ending, their state included, is dropped first. One child leaves nothing.
    fn arm(&mut self, plan: Plan, at_once: bool) -> VecDeque<Decision> {
        let Plan { ticket, child, restarting, delay, restarts_in_window } = plan;
        restarting.iter().filter_map(|key| self.children.get(key)).for_each(|child| child.spec.line.wait(delay));
        self.tell(Fact::RestartScheduled {
            supervisor: self.name.clone(),
            child: self.child_name(child),
            restarting: restarting.iter().map(|key| self.child_name(*key)).collect(),
            delay_seconds: delay.as_secs_f64(),
            restarts_in_window,
        });
        if at_once && delay.is_zero() && restarting.len() == 1 {
            return self.decide(Event::Due { ticket });
        }
        self.remind(ticket, delay);
        VecDeque::new()
    }

    fn remind(&self, ticket: Ticket, delay: Duration) {
        if delay.is_zero() {
            // Refused only if this supervisor is ending, and then nothing is due any more.
            let _ = self.myself.send_message(Message::Due(ticket));
        } else {
            self.myself.send_after(delay, move || Message::Due(ticket));
        }
    }

    /// Leaves a child down, and says so.
    fn set_aside(&mut self, aside: SetAside) {
        let SetAside { child: key, cause, reason, restarts_in_window, quarantine } = aside;
        let why = self.failure(key, cause, reason, restarts_in_window);
        let (chain, (_, root)) = (why.chain(), why.root_cause());
        self.tell(Fact::ChildSetAside {
            supervisor: self.name.clone(),
            child: why.child.clone(),
            restarts_in_window,
            quarantine_seconds: quarantine.map(|(_, wait)| wait.as_secs_f64()),
            chain,
            cause: root.clone(),
        });
        if let Some(child) = self.children.get(&key) {
            child.spec.line.set_aside(why, quarantine.map(|(_, wait)| wait));
            if quarantine.is_none() {
                (child.spec.abandon)();
            }
        }
        if let Some((ticket, wait)) = quarantine {
            self.remind(ticket, wait);
        }
    }

    fn give_up(&mut self, key: ChildKey, cause: ExitCause, reason: GiveUpReason, restarts_in_window: u32) -> GaveUp {
        let gave_up = self.failure(key, cause, reason, restarts_in_window);
        self.tell(Fact::Escalated {
            supervisor: self.name.clone(),
            child: gave_up.child.clone(),
            restarts_in_window,
            cause: gave_up.cause.clone(),
        });
        gave_up
    }

    /// One failure too many, with the chain that led to it.
    fn failure(&mut self, key: ChildKey, cause: ExitCause, reason: GiveUpReason, restarts_in_window: u32) -> GaveUp {
        let inner = self.children.get_mut(&key).and_then(|child| child.gave_up.take()).map(Box::new);
        GaveUp { supervisor: self.name.clone(), child: self.child_name(key), cause, reason, restarts_in_window, inner }
    }

    /// It was done, but for a child that cannot be ended.
    pub(crate) fn unstoppable(&self, child: String) -> GaveUp {
        let (supervisor, reason) = (self.name.clone(), GiveUpReason::Unstoppable);
        GaveUp { supervisor, child, cause: ExitCause::Killed, reason, restarts_in_window: 0, inner: None }
    }

    /// Starts the next incarnation of a child that is down.
    async fn start(&mut self, key: ChildKey) -> Result<(), StartError> {
        let Some(child) = self.children.get_mut(&key) else { return Ok(()) };
        child.incarnation = child.spec.line.starting();
        child.gave_up = None;
        let incarnation = child.incarnation;
        let random = self.environment.random.fork(key.0 + 1).fork(incarnation);
        let environment = Environment { random, ..self.environment.clone() };
        let supervisor = Some(self.myself.get_cell());
        let (note, line, slot) = (ExitNote::default(), Arc::clone(&child.spec.line), child.slot.clone());
        let context = StartContext { incarnation, supervisor, environment, note, line, slot };
        match launch(&child.spec, context).await {
            Ok(live) => {
                self.by_actor.insert(live.id(), key);
                child.live = Some(live);
                child.spec.line.up();
                if !child.is_passing() {
                    self.tell(Fact::ChildStarted {
                        supervisor: self.name.clone(),
                        child: self.child_name(key),
                        incarnation,
                    });
                }
                Ok(())
            }
            Err(error) => {
                // A snapshot may be why.
                child.slot.clear();
                let cause = ExitCause::StartFailed(error.to_string());
                child.spec.line.ended(Some(&cause));
                self.report_exit(key, &cause);
                Err(error)
            }
        }
    }

    /// Takes a child down the ladder, if it is up. Returns what it stopped in turn, and itself last.
    async fn stop(&mut self, key: ChildKey) -> Vec<Stopped> {
        let Some(child) = self.children.get_mut(&key) else { return Vec::new() };
        let Some(incarnation) = child.live.take() else { return Vec::new() };
        self.by_actor.remove(&incarnation.id());
        child.spec.line.enter(State::Stopping);
        let (means, mut stopped) = incarnation.stop(&self.myself, child.spec.budgets).await;
        stopped.push(self.report_stop(key, means));
        stopped
    }

    /// Takes every child down the ladder: dynamic ones together, then the others one by one, last started first.
    pub(crate) async fn stop_all(&mut self) -> Vec<Stopped> {
        let mut stopped = self.stop_dynamic().await;
        let keys: Vec<_> = self.children.keys().rev().copied().collect();
        for key in keys {
            stopped.extend(self.stop(key).await);
        }
        stopped
    }

    async fn stop_dynamic(&mut self) -> Vec<Stopped> {
        let mut ladders = JoinSet::new();
        for (key, child) in self.children.iter_mut().filter(|(_, child)| child.dynamic) {
            let Some(incarnation) = child.live.take() else { continue };
            self.by_actor.remove(&incarnation.id());
            child.spec.line.enter(State::Stopping);
            let (key, budgets, supervisor) = (*key, child.spec.budgets, self.myself.get_cell());
            ladders.spawn(async move { (key, incarnation.stop(&supervisor, budgets).await) });
        }
        let mut stopped = Vec::new();
        // A ladder that was cancelled (the runtime is ending) has killed its child by being dropped.
        while let Some(Ok((key, (means, within)))) = ladders.join_next().await {
            stopped.extend(within);
            stopped.push(self.report_stop(key, means));
        }
        stopped
    }

    fn report_stop(&self, key: ChildKey, means: StopMeans) -> Stopped {
        if let Some(child) = self.children.get(&key) {
            child.spec.line.ended(None);
            if means == StopMeans::Zombie {
                child.spec.line.enter(State::Zombie);
            }
        }
        let (supervisor, child) = (self.name.clone(), self.child_name(key));
        self.tell(Fact::ChildStopped { supervisor: supervisor.clone(), child: child.clone(), means });
        Stopped { supervisor, child, means }
    }

    fn report_exit(&self, key: ChildKey, cause: &ExitCause) {
        let Some(child) = self.children.get(&key) else { return };
        if child.is_passing() && !cause.is_abnormal() {
            return;
        }
        self.tell(Fact::ChildExited {
            supervisor: self.name.clone(),
            child: child.spec.name.clone(),
            incarnation: child.incarnation,
            cause: cause.clone(),
        });
    }

    fn tell(&self, fact: Fact) {
        self.environment.sink.emit(fact);
    }

    fn child_name(&self, key: ChildKey) -> String {
        self.children.get(&key).map(|child| child.spec.name.clone()).unwrap_or_default()
    }
}

/// Runs a start function within its budget. A panic in it is its own.
async fn launch(spec: &ChildSpec, context: StartContext) -> Result<Incarnation, StartError> {
    let starting = AssertUnwindSafe(async { (spec.start)(context).await }).catch_unwind();
    match timeout(spec.budgets.start, starting).await {
        Ok(Ok(started)) => started,
        Ok(Err(panic)) => Err(StartError::Panicked(panic_text(panic))),
        Err(_) => Err(StartError::Deadline(spec.budgets.start)),
    }
}

fn panic_text(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast::<&str>().map_or_else(|_| "not a text".into(), |text| (*text).into()),
    }
}
