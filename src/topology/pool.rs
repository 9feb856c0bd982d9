//! Several actors in the place of one, behind one port.
//!
//! They take turns. Whoever is down is passed over, so that a pool is there as long as one of its actors is. Nothing needs a queue: how
//! many messages there can be is bounded by permits, and none of them depends on who handles it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// A port to whichever of the actors behind `handles` is next and up. A message that finds nobody is a dead letter of the first.
pub(super) fn port<M: Message>(handles: &[Handle<M>]) -> Port<M> {
    let members: Vec<Port<M>> = handles.iter().map(single).collect();
    let port = match <[_; 1]>::try_from(members) {
        Ok([member]) => member,
        Err(members) => turns(members),
    };
    match handles.first().cloned() {
        Some(first) => port.mourned(move || first.bury()),
        None => port,
    }
}

fn single<M: Message>(handle: &Handle<M>) -> Port<M> {
    let handle = handle.clone();
    Port::new(move |message| handle.offer(message).map_err(|undelivered| undelivered.message))
}

fn turns<M: Send + 'static>(members: Vec<Port<M>>) -> Port<M> {
    let next = Arc::new(AtomicUsize::new(0));
    Port::new(move |mut message| {
        let first = next.fetch_add(1, Ordering::Relaxed);
        for turn in 0..members.len() {
            match members[(first + turn) % members.len()].send(message) {
                Ok(()) => return Ok(()),
                Err(undelivered) => message = undelivered.0,
            }
        }
        Err(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_take_turns_and_whoever_is_down_is_passed_over() {
        let (first, mut to_first) = Port::channel();
        let (second, to_second) = Port::channel();
        let (third, mut to_third) = Port::channel();
        let pool = turns(vec![first, second, third]);
        drop(to_second);
        (1..=6).for_each(|message| pool.send(message).unwrap());
        let received = |channel: &mut tokio::sync::mpsc::UnboundedReceiver<u32>| {
            std::iter::from_fn(|| channel.try_recv().ok()).collect::<Vec<_>>()
        };
        assert_eq!((received(&mut to_first), received(&mut to_third)), (vec![1, 4], vec![2, 3, 5, 6]));
        drop((to_first, to_third));
        assert_eq!(pool.send(7).unwrap_err().0, 7, "nobody is up, and the message comes back");
    }
}
