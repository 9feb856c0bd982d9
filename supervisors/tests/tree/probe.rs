//! A child that does as it is told, and a journal of what all children did.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use stateset_domain::Stream;
use stateset_supervisors::{
    Backoff, Budgets, ChildSpec, Handle, Intensity, Restart, Strategy, SupervisorHandle, SupervisorSpec, Tree,
};
use stateset_telemetry::{Event, Memory};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// What the children did, in order.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub(crate) fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// How many hold it.
    pub(crate) fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

pub(crate) struct Probe {
    pub(crate) name: String,
    pub(crate) incarnation: u64,
    pub(crate) journal: Journal,
}

pub(crate) enum Order {
    /// Return an error.
    Fail,
    Panic,
    /// Stop itself.
    Finish,
    /// Kill itself, as an outsider could.
    Kill,
    /// Work for so long, then note it.
    Work(Duration),
    /// Note it, and block the thread until told otherwise.
    Block(mpsc::Receiver<()>),
    /// Answer with the number of the incarnation.
    Incarnation(RpcReplyPort<u64>),
    /// Drop the reply port.
    Ignore(RpcReplyPort<u64>),
}

/// Notes when it is dropped.
pub(crate) struct Trace(String, Journal);

impl Drop for Trace {
    fn drop(&mut self) {
        self.1.note(format!("{} gone", self.0));
    }
}

impl Actor for Probe {
    type Msg = Order;
    type State = Trace;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Order>, (): ()) -> Result<Trace, ActorProcessingErr> {
        self.journal.note(format!("{} up {}", self.name, self.incarnation));
        Ok(Trace(self.name.clone(), self.journal.clone()))
    }

    async fn handle(&self, myself: ActorRef<Order>, order: Order, _: &mut Trace) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Fail => return Err("told to fail".into()),
            Order::Panic => panic!("told to panic"),
            Order::Finish => myself.stop(Some("killed".into())),
            Order::Kill => myself.kill(),
            Order::Work(time) => {
                tokio::time::sleep(time).await;
                self.journal.note(format!("{} worked", self.name));
            }
            Order::Block(release) => {
                self.journal.note(format!("{} blocks", self.name));
                let _ = release.recv();
            }
            Order::Incarnation(reply) => drop(reply.send(self.incarnation)),
            Order::Ignore(reply) => drop(reply),
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Order>, _: &mut Trace) -> Result<(), ActorProcessingErr> {
        self.journal.note(format!("{} stopped", self.name));
        Ok(())
    }
}

/// Ends as soon as it is up.
pub(crate) struct Passing {
    pub(crate) alive: Journal,
}

impl Actor for Passing {
    type Msg = ();
    type State = Journal;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<()>, (): ()) -> Result<Journal, ActorProcessingErr> {
        myself.stop(None);
        Ok(self.alive.clone())
    }
}

/// What a test holds.
#[derive(Default)]
pub(crate) struct Bench {
    pub(crate) journal: Journal,
    pub(crate) sink: Arc<Memory>,
}

impl Bench {
    pub(crate) fn probe(&self, name: &str, incarnation: u64) -> Probe {
        Probe { name: name.into(), incarnation, journal: self.journal.clone() }
    }

    pub(crate) fn child(&self, name: &str, restart: Restart) -> (Handle<Order>, ChildSpec) {
        let (handle, journal, name) = (Handle::new(name), self.journal.clone(), name.to_owned());
        let spec = ChildSpec::actor(&handle, restart, move |incarnation| {
            (Probe { name: name.clone(), incarnation, journal: journal.clone() }, ())
        });
        (handle, spec.with_budgets(Budgets { start: SECOND, drain: SECOND, stop: SECOND, kill: SECOND }))
    }

    pub(crate) async fn start(&self, root: SupervisorSpec) -> Tree {
        Tree::start(root, self.sink.clone(), Stream::new(1)).await.unwrap()
    }

    /// Everything that was said of restarts, escalations and abnormal ends, briefly.
    pub(crate) fn causes(&self) -> Vec<String> {
        self.sink.events().into_iter().filter_map(brief).collect()
    }
}

fn brief(event: Event) -> Option<String> {
    match event {
        Event::ChildExited { child, incarnation, cause, .. } => Some(format!("{child} {incarnation} {cause:?}")),
        Event::RestartScheduled { restarting, .. } => Some(format!("restart {}", restarting.join(" "))),
        Event::Escalated { supervisor, child, restarts_in_window, .. } => {
            Some(format!("{supervisor} escalates {child} {restarts_in_window}"))
        }
        _ => None,
    }
}

/// A supervisor that never waits and bears two restarts in ten seconds.
pub(crate) fn eager(name: &str, strategy: Strategy, children: Vec<ChildSpec>) -> SupervisorSpec {
    SupervisorSpec {
        intensity: Intensity { max_restarts: 2, within: SECOND * 10 },
        backoff: Backoff::NONE,
        ..SupervisorSpec::new(&SupervisorHandle::new(name), strategy, children)
    }
}
