//! The actors in one place, behind one port: one of them, or a pool.
//!
//! The members of a pool take turns. Whoever is down is passed over, so that a pool is there as long as one of its members is. Nothing
//! needs a queue: how many messages there can be is bounded by permits, and none of them depends on who handles it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ractor::Message;
use stateset_actors::protocol::Port;
use stateset_supervisors::Handle;

use super::blueprint::Placed;

/// What the actors of a place are called.
pub(super) fn names(placed: &Placed) -> Vec<String> {
    match placed.pool {
        None => vec![placed.id.clone()],
        Some(size) => (1..=size).map(|member| format!("{}-{member}", placed.id)).collect(),
    }
}

/// A port to whichever incarnation of an actor is up. A message that finds nobody is a dead letter.
pub(super) fn port<M: Message>(handle: &Handle<M>) -> Port<M> {
    let (handle, mourner) = (handle.clone(), handle.clone());
    Port::new(move |message| deliver(&handle, message)).mourned(move || mourner.bury())
}

fn deliver<M: Message>(handle: &Handle<M>, message: M) -> Result<(), M> {
    handle.offer(message).map_err(|undelivered| undelivered.message)
}

/// The actors in one place, as they are now.
pub(super) struct Members<M>(Arc<Shared<M>>);

struct Shared<M> {
    handles: RwLock<Arc<[Handle<M>]>>,
    turn: AtomicUsize,
}

impl<M: Message> Members<M> {
    /// A place with nobody in it.
    pub(super) fn nobody() -> Self {
        Self(Arc::new(Shared { handles: RwLock::new(Arc::default()), turn: AtomicUsize::new(0) }))
    }

    /// Handles of actors to be, called `names`. Whoever is there already keeps his own.
    pub(super) fn named(&self, names: &[String]) -> Arc<[Handle<M>]> {
        let now = self.now();
        let handle = |name: &String| now.iter().find(|handle| handle.name() == name).cloned();
        names.iter().map(|name| handle(name).unwrap_or_else(|| Handle::new(name))).collect()
    }

    /// Lets the port lead to `handles`.
    pub(super) fn seat(&self, handles: Arc<[Handle<M>]>) {
        *self.0.handles.write().unwrap_or_else(PoisonError::into_inner) = handles;
    }

    /// A port to whoever is next and up. A message that finds nobody is a dead letter of the first.
    pub(super) fn port(&self) -> Port<M> {
        let (members, mourners) = (self.clone(), self.clone());
        let port = Port::new(move |message| {
            let turn = members.0.turn.fetch_add(1, Ordering::Relaxed);
            by_turns(&members.now(), turn, message, deliver)
        });
        port.mourned(move || mourners.now().iter().take(1).for_each(Handle::bury))
    }

    fn now(&self) -> Arc<[Handle<M>]> {
        self.0.handles.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<M> Clone for Members<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Delivers to whoever has the `turn`, or to the next one after him who takes it.
fn by_turns<T, M>(
    members: &[T],
    turn: usize,
    mut message: M,
    deliver: impl Fn(&T, M) -> Result<(), M>,
) -> Result<(), M> {
    for next in 0..members.len() {
        match deliver(&members[turn.wrapping_add(next) % members.len()], message) {
            Ok(()) => return Ok(()),
            Err(undelivered) => message = undelivered,
        }
    }
    Err(message)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn members_take_turns_and_whoever_is_down_is_passed_over() {
        let members: Vec<(bool, RefCell<Vec<usize>>)> = [true, false, true].map(|up| (up, RefCell::default())).into();
        let deliver = |(up, inbox): &(bool, RefCell<Vec<usize>>), message| {
            if !*up {
                return Err(message);
            }
            inbox.borrow_mut().push(message);
            Ok(())
        };
        (0..6).for_each(|message| by_turns(&members, message, message, deliver).unwrap());
        let inboxes: Vec<Vec<usize>> = members.iter().map(|(_, inbox)| inbox.borrow().clone()).collect();
        assert_eq!(inboxes, [vec![0, 3], vec![], vec![1, 2, 4, 5]]);
        assert_eq!(by_turns(&members[1..2], 6, 6, deliver), Err(6), "nobody is up, and the message comes back");
    }
}
