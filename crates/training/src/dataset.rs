//! What is learned from in place of episodes: conversations that are given, or pairs of them.
//!
//! Which of them a step uses is a function of the seed and the step. So whoever goes on after the last checkpoint uses what would have been
//! used, and nothing about it has to be saved.

use std::fmt;
use std::sync::Arc;

use stateset_domain::{LearnerError, Stream};

/// A conversation to imitate.
#[derive(Debug, Clone, PartialEq)]
pub struct Demonstration {
    /// Its token ids.
    pub tokens: Vec<u32>,
    /// Which of them the assistant said.
    pub spoken: Vec<bool>,
}

impl Demonstration {
    /// How many tokens the assistant said.
    #[must_use]
    pub fn spoken_tokens(&self) -> usize {
        self.spoken.iter().filter(|spoken| **spoken).count()
    }
}

/// Two conversations that begin alike, of which one is preferred. What counts of each is what the assistant says after that beginning.
#[derive(Debug, Clone, PartialEq)]
pub struct PreferencePair {
    /// The better one.
    pub chosen: Demonstration,
    /// The other.
    pub rejected: Demonstration,
}

/// Gives the conversation of a number, and the same one whenever it is asked.
pub type Endless = Arc<dyn Fn(u64) -> Result<Demonstration, LearnerError> + Send + Sync>;

/// What there is to learn from.
#[derive(Clone)]
pub enum Items {
    /// These conversations, over and over.
    Conversations(Arc<[Demonstration]>),
    /// Conversations without end, each once.
    Endless(Endless),
    /// These pairs, over and over.
    Pairs(Arc<[PreferencePair]>),
}

/// What a learner learns from in place of episodes.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// What there is.
    pub items: Items,
    /// How much of it a step uses.
    pub batch: usize,
    /// Where the order comes from.
    pub seed: u64,
}

/// Keeps the order apart from whatever else follows from the seed.
const ORDER: u64 = 0x6f72_6465;

impl Dataset {
    /// The numbers of what `step` uses, counted from 1. A list is gone through in an order that is drawn anew for every pass; a step at
    /// the end of a pass goes on with the next.
    #[must_use]
    pub fn of_step(&self, step: u64) -> Vec<usize> {
        let first = (step.saturating_sub(1) as usize).saturating_mul(self.batch);
        let count = match &self.items {
            Items::Endless(_) => return (first..first + self.batch).collect(),
            Items::Conversations(list) => list.len(),
            Items::Pairs(list) => list.len(),
        };
        if count == 0 {
            return Vec::new();
        }
        let passes = first / count..;
        let order = |pass| Stream::new(self.seed).fork(ORDER).fork(pass as u64).sample_indices(count, count);
        passes.flat_map(order).skip(first % count).take(self.batch).collect()
    }
}

impl fmt::Debug for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conversations(list) => write!(f, "{} conversations", list.len()),
            Self::Endless(_) => write!(f, "conversations without end"),
            Self::Pairs(list) => write!(f, "{} pairs", list.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(count: usize, batch: usize, seed: u64) -> Dataset {
        let one = Demonstration { tokens: vec![1, 2], spoken: vec![false, true] };
        Dataset { items: Items::Conversations(vec![one; count].into()), batch, seed }
    }

    fn used(dataset: &Dataset, steps: std::ops::RangeInclusive<u64>) -> Vec<usize> {
        steps.flat_map(|step| dataset.of_step(step)).collect()
    }

    #[test]
    fn a_pass_uses_everything_once_and_the_next_in_another_order() {
        let dataset = of(12, 4, 7);
        let (first, second) = (used(&dataset, 1..=3), used(&dataset, 4..=6));
        for pass in [&first, &second] {
            let mut sorted = pass.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..12).collect::<Vec<_>>());
        }
        assert_ne!(first, second);
        assert_ne!(first, used(&of(12, 4, 8), 1..=3), "another seed, another order");
    }

    #[test]
    fn what_a_step_uses_depends_on_the_step_alone_and_not_on_how_the_pass_is_cut() {
        assert_eq!(used(&of(5, 3, 1), 1..=5), used(&of(5, 5, 1), 1..=3));
        assert_eq!(of(5, 3, 1).of_step(4), used(&of(5, 1, 1), 10..=12));
        assert_eq!(of(2, 5, 1).of_step(1).len(), 5, "a step may be longer than a pass");
    }

    #[test]
    fn what_never_ends_is_never_used_twice() {
        let items = Items::Endless(Arc::new(|_| Err(LearnerError::Batch("never asked".into()))));
        let dataset = Dataset { items, batch: 3, seed: 0 };
        assert_eq!(used(&dataset, 1..=3), (0..9).collect::<Vec<_>>());
    }
}
