//! Which conversation's prefix is in which slot of the cache. Pure bookkeeping.
//!
//! A slot holds what was last fed to it until something else is: also while it is being fed, and after its conversation was released.
//! All of that may serve as the beginning of a conversation that starts with the same tokens.

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

    /// The slot for `conversation`, now busy; it holds on to what it has in common with `tokens`, of which at least one is always left
    /// to feed. Takes a free slot, or the one that has idled longest; `None` if all are busy.
    pub(crate) fn acquire(&mut self, conversation: u64, tokens: &[u32]) -> Option<usize> {
        let slot = if let Some(&slot) = self.owner.get(&conversation) {
            self.idle.retain(|idle| *idle != conversation);
            slot
        } else {
            if self.free.is_empty() && !self.idle.is_empty() {
                let evicted = self.idle[0];
                self.release(evicted);
            }
            let slot = self.free.pop()?;
            self.owner.insert(conversation, slot);
            slot
        };
        let kept = self.usable(slot, tokens);
        self.held[slot].truncate(kept);
        Some(slot)
    }

    /// How many tokens `slot` holds.
    pub(crate) fn held(&self, slot: usize) -> usize {
        self.held[slot].len()
    }

    /// `slot` was fed `tokens`, or they were copied to it.
    pub(crate) fn extend(&mut self, slot: usize, tokens: &[u32]) {
        self.held[slot].extend_from_slice(tokens);
    }

    /// The slot, busy, idle or free, that holds the most of the beginning of `tokens`, and how much it is; only if it
    /// is more than `slot` holds itself. At least one token is left to feed.
    pub(crate) fn better(&self, slot: usize, tokens: &[u32]) -> Option<(usize, usize)> {
        let others = (0..self.held.len()).map(|other| (other, self.usable(other, tokens)));
        let (best, usable) = others.max_by_key(|(_, usable)| *usable)?;
        (usable > self.held(slot)).then_some((best, usable))
    }

    fn usable(&self, slot: usize, tokens: &[u32]) -> usize {
        common(&self.held[slot], tokens).min(tokens.len() - 1)
    }

    /// `conversation`'s request is over.
    pub(crate) fn idle(&mut self, conversation: u64) {
        if self.owner.contains_key(&conversation) {
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

/// How many tokens `a` and `b` begin with alike.
pub(crate) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slot that `conversation` gets and what it already holds of `tokens`, which it then holds whole.
    fn turn(slots: &mut Slots, conversation: u64, tokens: &[u32]) -> Option<(usize, usize)> {
        let slot = slots.acquire(conversation, tokens)?;
        let kept = slots.held(slot);
        slots.extend(slot, &tokens[kept..]);
        Some((slot, kept))
    }

    #[test]
    fn a_returning_conversation_keeps_its_prefix() {
        let mut slots = Slots::new(2);
        let (slot, kept) = turn(&mut slots, 7, &[1, 2, 3]).unwrap();
        assert_eq!(kept, 0);
        slots.idle(7);
        assert_eq!(turn(&mut slots, 7, &[1, 2, 3, 4, 5]), Some((slot, 3)));
        slots.idle(7);
        assert_eq!(turn(&mut slots, 7, &[1, 9]), Some((slot, 1)), "only the common prefix counts");
    }

    #[test]
    fn a_request_for_exactly_what_is_held_still_feeds_one_token() {
        let mut slots = Slots::new(1);
        turn(&mut slots, 7, &[1, 2]).unwrap();
        slots.idle(7);
        assert_eq!(turn(&mut slots, 7, &[1, 2]).unwrap().1, 1);
    }

    #[test]
    fn the_longest_idle_conversation_makes_room_and_busy_ones_never_do() {
        let mut slots = Slots::new(2);
        turn(&mut slots, 1, &[1]).unwrap();
        turn(&mut slots, 2, &[2]).unwrap();
        assert_eq!(turn(&mut slots, 3, &[3]), None);
        slots.idle(2);
        slots.idle(1);
        assert!(turn(&mut slots, 3, &[3]).is_some());
        assert_eq!(turn(&mut slots, 1, &[1, 2]).unwrap().1, 1, "conversation 2 was evicted, not 1");
        assert_eq!(turn(&mut slots, 2, &[2]), None);
    }

    #[test]
    fn new_weights_forget_every_prefix() {
        let mut slots = Slots::new(1);
        turn(&mut slots, 1, &[1, 2]).unwrap();
        slots.idle(1);
        slots.forget();
        assert_eq!(turn(&mut slots, 1, &[1, 2]).unwrap().1, 0);
    }

    #[test]
    fn the_longest_beginning_is_found_whether_its_slot_is_busy_idle_or_free() {
        let mut slots = Slots::new(4);
        let (busy, _) = turn(&mut slots, 1, &[1, 2, 3, 4]).unwrap();
        let (idle, _) = turn(&mut slots, 2, &[1, 2, 3, 9, 9]).unwrap();
        slots.idle(2);
        let (own, _) = turn(&mut slots, 3, &[1]).unwrap();
        assert_eq!(slots.better(own, &[1, 2, 3, 4, 5]), Some((busy, 4)));
        assert_eq!(slots.better(own, &[1, 2, 3, 9, 9]), Some((idle, 4)), "one token is left to feed");
        assert_eq!(slots.better(own, &[1, 5]), None, "no more than it holds itself");
        slots.release(1);
        assert_eq!(slots.better(own, &[1, 2, 3, 4, 5]), Some((busy, 4)), "nobody has overwritten it");
        let (again, kept) = turn(&mut slots, 4, &[7, 7]).unwrap();
        assert_eq!((again, kept), (busy, 0));
        assert_eq!(slots.better(own, &[1, 2, 3, 4, 5]), Some((idle, 3)));
    }
}
