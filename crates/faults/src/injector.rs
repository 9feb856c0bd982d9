//! Decides, at every visit, whether a fault is due; and writes it down before it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stateset_telemetry::{Event, EventSink};

use crate::{Fault, Plan, Site};

/// What only the process as a whole can do and know.
#[derive(Clone)]
pub struct Machine {
    /// How long the run has been going on.
    pub now: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// Lets the clock go back.
    pub turn_back: Arc<dyn Fn(Duration) + Send + Sync>,
    /// Ends the process as `kill -9` does.
    pub kill: Arc<dyn Fn() + Send + Sync>,
}

/// A fault that is happening now. It has its line in the events already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injected {
    /// Its place in the plan.
    pub id: u32,
    /// What it is.
    pub fault: Fault,
}

/// Holds a plan against what a run does.
pub struct Injector {
    plan: Plan,
    events: Arc<dyn EventSink>,
    machine: Machine,
    state: Mutex<State>,
}

struct State {
    step: u64,
    /// Since the step began.
    visits: BTreeMap<Site, u64>,
    /// By site, what has not happened yet, the next one last.
    waiting: BTreeMap<Site, Vec<u32>>,
}

impl Injected {
    /// Panics, as a fault of this kind does. The panic hook is spared: a run with five hundred faults would drown its own log.
    pub fn panic(&self) -> ! {
        resume_unwind(Box::new(self.text()))
    }

    /// What it says of itself.
    #[must_use]
    pub fn text(&self) -> String {
        format!("injected fault {}: {}", self.id, self.fault.detail())
    }
}

impl Injector {
    /// An injector of `plan`, of which `happened` have happened in an earlier life of the run.
    pub fn new(plan: Plan, happened: &BTreeSet<u32>, events: Arc<dyn EventSink>, machine: Machine) -> Self {
        let mut waiting: BTreeMap<Site, Vec<u32>> = BTreeMap::new();
        let mut order: Vec<u32> = (0..plan.0.len() as u32).filter(|id| !happened.contains(id)).collect();
        order.sort_by_key(|id| {
            let fault = plan.0[*id as usize];
            std::cmp::Reverse((fault.step, fault.after, *id))
        });
        order.into_iter().for_each(|id| waiting.entry(plan.0[id as usize].site).or_default().push(id));
        Self { plan, events, machine, state: Mutex::new(State { step: 0, visits: BTreeMap::new(), waiting }) }
    }

    /// The faults that `events` say have happened.
    pub fn happened<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<u32> {
        let id = |event: &Event| if let Event::FaultInjected { id, .. } = event { Some(*id) } else { None };
        events.into_iter().filter_map(id).collect()
    }

    /// The run has taken `step` steps; or has gone back to where it had.
    pub fn at_step(&self, step: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.step = step;
        state.visits.clear();
    }

    /// `site` is visited. What is to happen there, if anything is. A fault of the machine happens here and now.
    pub fn visit(&self, site: Site) -> Option<Injected> {
        if let Some(jump) = self.due(Site::Clock) {
            (self.machine.turn_back)(jump.fault.lasts);
        }
        if self.due(Site::Process).is_some() {
            self.events.sync();
            (self.machine.kill)();
        }
        self.due(site)
    }

    /// How long the run has been going on.
    #[must_use]
    pub fn now(&self) -> Duration {
        (self.machine.now)()
    }

    fn due(&self, site: Site) -> Option<Injected> {
        let (injected, step) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let id = state.visit(site, &self.plan)?;
            (Injected { id, fault: self.plan.0[id as usize] }, state.step)
        };
        self.events.emit(Event::FaultInjected {
            id: injected.id,
            kind: injected.fault.kind.to_string(),
            site: site.to_string(),
            step,
            detail: injected.fault.detail(),
        });
        Some(injected)
    }
}

impl State {
    fn visit(&mut self, site: Site, plan: &Plan) -> Option<u32> {
        let next = *self.waiting.get(&site)?.last()?;
        let visits = self.visits.entry(site).or_default();
        *visits += 1;
        let fault = plan.0[next as usize];
        let due = fault.step < self.step || (fault.step == self.step && *visits >= fault.after);
        if !due {
            return None;
        }
        self.waiting.get_mut(&site)?.pop()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use stateset_telemetry::Memory;

    use super::*;
    use crate::Kind;

    fn machine() -> (Machine, Arc<AtomicU64>, Arc<AtomicU64>) {
        let (back, killed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (turned, dead) = (back.clone(), killed.clone());
        let machine = Machine {
            now: Arc::new(Duration::default),
            turn_back: Arc::new(move |by| {
                turned.fetch_add(by.as_secs(), Ordering::Relaxed);
            }),
            kill: Arc::new(move || {
                dead.fetch_add(1, Ordering::Relaxed);
            }),
        };
        (machine, back, killed)
    }

    fn injector(faults: &[(u64, u64, Site, Kind)], happened: &[u32]) -> (Injector, Arc<Memory>) {
        let plan =
            Plan(faults.iter().map(|(step, after, site, kind)| Fault::new(*step, *after, *site, *kind)).collect());
        let events = Arc::new(Memory::default());
        (Injector::new(plan, &happened.iter().copied().collect(), events.clone(), machine().0), events)
    }

    #[test]
    fn a_fault_comes_at_its_visit_of_its_step_and_never_again() {
        let (injector, events) = injector(&[(2, 3, Site::Judge, Kind::Panic)], &[]);
        let hits = |visits: usize| (0..visits).filter(|_| injector.visit(Site::Judge).is_some()).count();
        assert_eq!(hits(10), 0, "its step has not come");
        injector.at_step(2);
        assert_eq!((hits(2), hits(1)), (0, 1));
        injector.at_step(2);
        injector.at_step(3);
        assert_eq!(hits(10), 0);
        assert!(matches!(&events.events()[..], [Event::FaultInjected { id: 0, step: 2, .. }]));
    }

    #[test]
    fn a_fault_that_missed_its_step_comes_at_the_next_visit() {
        let (injector, _) = injector(&[(1, 50, Site::Store, Kind::DiskFull), (1, 1, Site::Judge, Kind::Slow)], &[]);
        injector.at_step(4);
        assert_eq!(injector.visit(Site::Store).map(|injected| injected.id), Some(0));
        assert_eq!(injector.visit(Site::Judge).map(|injected| injected.id), Some(1));
    }

    #[test]
    fn each_visit_has_one_fault_in_the_order_they_are_due() {
        let judge = |step, after| (step, after, Site::Judge, Kind::Error);
        let (injector, _) = injector(&[judge(3, 1), judge(0, 9), judge(0, 2)], &[]);
        injector.at_step(5);
        let ids: Vec<u32> = (0..4).filter_map(|_| injector.visit(Site::Judge)).map(|injected| injected.id).collect();
        assert_eq!(ids, [2, 1, 0]);
    }

    #[test]
    fn what_has_its_line_does_not_happen_in_the_next_process() {
        let faults = [(0, 1, Site::Judge, Kind::Error), (0, 1, Site::Judge, Kind::Panic)];
        let (first, events) = injector(&faults, &[]);
        assert_eq!(first.visit(Site::Judge).map(|injected| injected.id), Some(0));
        let happened: Vec<u32> = Injector::happened(&events.events()).into_iter().collect();
        let (second, _) = injector(&faults, &happened);
        assert_eq!(second.visit(Site::Judge).map(|injected| injected.id), Some(1));
        assert_eq!(second.visit(Site::Judge), None);
    }

    #[test]
    fn the_machine_is_hit_wherever_a_visit_is_and_has_its_line_first() {
        let (machine, back, killed) = machine();
        let events = Arc::new(Memory::default());
        let plan =
            Plan(vec![Fault::new(0, 2, Site::Process, Kind::Kill), Fault::new(0, 1, Site::Clock, Kind::ClockJump)]);
        let seen = events.clone();
        let kill = move || {
            assert_eq!(seen.events().len(), 2);
            (machine.kill)();
        };
        let machine = Machine { kill: Arc::new(kill), now: machine.now, turn_back: machine.turn_back };
        let injector = Injector::new(plan, &BTreeSet::new(), events, machine);
        assert_eq!(injector.visit(Site::Judge), None);
        assert_eq!((back.load(Ordering::Relaxed), killed.load(Ordering::Relaxed)), (3600, 0));
        injector.visit(Site::Engine);
        assert_eq!(killed.load(Ordering::Relaxed), 1);
    }
}
