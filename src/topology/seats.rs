//! Every seat of a running tree: what an actor that is told something else is made by, and who restarts it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stateset_supervisors::{ChildSpec, Strategy, SupervisorHandle, SupervisorSpec, View};

use super::Common;
use super::blueprint::{Branch, Placed};
use super::seat::{Address, Fill, Filled, Place, SeatError};

/// How long a supervisor may take to restart a child on purpose: ladders of siblings included.
const RESTART_PATIENCE: Duration = Duration::from_secs(120);

/// Every seat of a tree, by the actor's name.
pub(super) struct Seats {
    pub(super) addresses: BTreeMap<String, Address>,
    pub(super) common: Arc<Common>,
    pub(super) sitting: BTreeMap<String, Sitting>,
}

/// One seat, or one pool of them.
pub(super) struct Sitting {
    fill: Fill,
    parent: Parent,
    latest: Arc<Mutex<Latest>>,
}

/// Who is above a seat.
#[derive(Clone)]
struct Parent {
    supervisor: SupervisorHandle,
    /// Whose patience a pool has.
    branch: Branch,
    /// The supervisor of the pool, if it is one.
    pool: SupervisorHandle,
}

struct Latest {
    child: ChildSpec,
    is_up: Box<dyn Fn() -> bool + Send + Sync>,
}

/// An actor that is ready to take its seat.
pub(super) struct Prepared {
    latest: Latest,
    seat: Box<dyn FnOnce() + Send>,
}

impl Seats {
    /// Fills a seat for the first time. `None` if whoever sits there comes later, one by one.
    pub(super) fn fill(
        &mut self,
        placed: &Placed,
        branch: &Branch,
        supervisor: &SupervisorHandle,
        fill: Fill,
    ) -> Result<Option<ChildSpec>, SeatError> {
        let (supervisor, branch) = (supervisor.clone(), branch.clone());
        let parent = Parent { supervisor, branch, pool: SupervisorHandle::new(&placed.id) };
        let Some(Prepared { latest, seat }) = self.prepared(placed, &parent, &fill)? else { return Ok(None) };
        seat();
        let child = latest.child.clone();
        let latest = Arc::new(Mutex::new(latest));
        self.sitting.insert(placed.id.clone(), Sitting { fill, parent, latest: latest.clone() });
        // Not the child as it is now: whoever is restarted later, even with its supervisor, is what it has been told last.
        Ok(Some(child.renewed(move || locked(&latest).child.clone())))
    }

    /// Makes whoever sits at `placed` anew, without letting him sit down yet.
    pub(super) fn prepare(&self, placed: &Placed) -> Result<Prepared, SeatError> {
        let nobody = || SeatError::Params { actor: placed.id.clone(), cause: "nobody has a seat there".into() };
        let Sitting { fill, parent, .. } = self.sitting.get(&placed.id).ok_or_else(nobody)?;
        self.prepared(placed, parent, fill)?.ok_or_else(nobody)
    }

    fn prepared(&self, placed: &Placed, parent: &Parent, fill: &Fill) -> Result<Option<Prepared>, SeatError> {
        let (Self { addresses, common, .. }, Parent { supervisor, branch, pool }) = (self, parent);
        let Filled { mut children, seat, is_up } = fill(&Place { placed, supervisor, addresses, common })?;
        let child = match placed.pool {
            None => children.pop(),
            Some(_) => {
                let Branch { intensity, backoff, .. } = *branch;
                let pool =
                    SupervisorSpec { intensity, backoff, ..SupervisorSpec::new(pool, Strategy::OneForOne, children) };
                let mut child = ChildSpec::supervisor(placed.restart, pool);
                child.significant = placed.significant;
                Some(child)
            }
        };
        Ok(child.map(|child| Prepared { latest: Latest { child, is_up }, seat }))
    }

    /// Restarts an actor on purpose, as `prepared` if it is told something else. Says why if it is not up then.
    pub(super) async fn restart(&self, view: &View, id: &str, prepared: Option<Prepared>) -> Result<(), String> {
        let Some(Sitting { latest, .. }) = self.sitting.get(id) else { return Ok(()) };
        if let Some(prepared) = prepared {
            *locked(latest) = prepared.latest;
            (prepared.seat)();
        }
        view.restart(id, RESTART_PATIENCE).await.map_err(|error| error.to_string())?;
        if (locked(latest).is_up)() { Ok(()) } else { Err("it failed when it was started".into()) }
    }
}

fn locked(latest: &Mutex<Latest>) -> std::sync::MutexGuard<'_, Latest> {
    latest.lock().unwrap_or_else(PoisonError::into_inner)
}
