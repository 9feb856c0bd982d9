//! Which conversation's prefix is in which slot of the cache. Pure bookkeeping.

use std::collections::BTreeMap;

/// The tokens whose keys and values each slot holds.
#[derive(Debug)]
pub(crate) struct Slots {
    held: Vec<Vec<u32>>,
    owner: BTreeMap<u64, usize>,
    free: Vec<usize>,
    /// Conversations without a live request, least recently used first.
    idle: Vec<u64>,
}

impl Slots {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            held: vec![Vec::new(); count],
            owner: BTreeMap::new(),
            free: (0..count).rev().collect(),
            idle: Vec::new(),
        }
    }

    /// The slot for `conversation`, now busy, and how many of `tokens` it already holds; at least one token is always left to feed.
    /// Takes a free slot, or the one that has idled longest; `None` if all are busy.
    pub(crate) fn acquire(&mut self, conversation: u64, tokens: &[u32]) -> Option<(usize, usize)> {
        if let Some(&slot) = self.owner.get(&conversation) {
            self.idle.retain(|idle| *idle != conversation);
            let common = self.held[slot].iter().zip(tokens).take_while(|(a, b)| a == b).count();
            return Some((slot, common.min(tokens.len() - 1)));
        }
        if self.free.is_empty() && !self.idle.is_empty() {
            let evicted = self.idle[0];
            self.release(evicted);
        }
        let slot = self.free.pop()?;
        self.owner.insert(conversation, slot);
        self.held[slot].clear();
        Some((slot, 0))
    }

    /// `conversation`'s request is over and its slot holds `tokens`.
    pub(crate) fn idle(&mut self, conversation: u64, tokens: &[u32]) {
        if let Some(&slot) = self.owner.get(&conversation) {
            self.held[slot].clear();
            self.held[slot].extend_from_slice(tokens);
            self.idle.push(conversation);
        }
    }

    /// Frees `conversation`'s slot.
    pub(crate) fn release(&mut self, conversation: u64) {
        if let Some(slot) = self.owner.remove(&conversation) {
            self.idle.retain(|idle| *idle != conversation);
            self.free.push(slot);
        }
    }

    /// Nothing held is valid any more: the weights have changed.
    pub(crate) fn forget(&mut self) {
        self.held.iter_mut().for_each(Vec::clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returning_conversation_keeps_its_prefix() {
        let mut slots = Slots::new(2);
        let (slot, kept) = slots.acquire(7, &[1, 2, 3]).unwrap();
        assert_eq!(kept, 0);
        slots.idle(7, &[1, 2, 3]);
        assert_eq!(slots.acquire(7, &[1, 2, 3, 4, 5]), Some((slot, 3)));
        slots.idle(7, &[1, 2, 3]);
        assert_eq!(slots.acquire(7, &[1, 9]), Some((slot, 1)), "only the common prefix counts");
    }

    #[test]
    fn a_request_for_exactly_what_is_held_still_feeds_one_token() {
        let mut slots = Slots::new(1);
        slots.acquire(7, &[1, 2]).unwrap();
        slots.idle(7, &[1, 2]);
        assert_eq!(slots.acquire(7, &[1, 2]).unwrap().1, 1);
    }

    #[test]
    fn the_longest_idle_conversation_makes_room_and_busy_ones_never_do() {
        let mut slots = Slots::new(2);
        slots.acquire(1, &[1]).unwrap();
        slots.acquire(2, &[1]).unwrap();
        assert_eq!(slots.acquire(3, &[1]), None);
        slots.idle(2, &[1]);
        slots.idle(1, &[1]);
        assert!(slots.acquire(3, &[1]).is_some());
        assert_eq!(slots.acquire(1, &[1, 2]).unwrap().1, 1, "conversation 2 was evicted, not 1");
        assert_eq!(slots.acquire(2, &[1]), None);
    }

    #[test]
    fn new_weights_forget_every_prefix() {
        let mut slots = Slots::new(1);
        slots.acquire(1, &[1, 2]).unwrap();
        slots.idle(1, &[1, 2]);
        slots.forget();
        assert_eq!(slots.acquire(1, &[1, 2]).unwrap().1, 0);
    }
}
