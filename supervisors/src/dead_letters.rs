//! Messages that reached nobody.
//!
//! Delivery is at most once, so some messages are never handled: nobody was there, the retained queue was full, or whoever had taken
//! them ended first. None of this is an error of the supervisor's, and all of it is worth knowing when something is stuck. What is kept
//! is bounded: a count for each recipient and type of message, and the latest few one by one. It can be read without any mailbox.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::time::Instant;

/// Dead letters that are remembered one by one.
const RECENT: usize = 64;

/// Why a message was not handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// No incarnation took it.
    Down,
    /// It was retained for the next incarnation, and there will be none.
    Abandoned,
    /// It was in the mailbox of an incarnation that ended.
    Lost,
}

/// How many messages of one type to one recipient were not handled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadCount {
    /// Whom they were for.
    pub recipient: Arc<str>,
    /// The type of the messages.
    pub message: &'static str,
    /// Why.
    pub reason: DeadReason,
    /// How many.
    pub count: u64,
}

/// Some messages that were not handled, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeadLetter {
    /// Whom they were for.
    pub recipient: Arc<str>,
    /// The type of the messages.
    pub message: &'static str,
    /// Why.
    pub reason: DeadReason,
    /// How many at once: more than one only if they were lost with a mailbox.
    pub count: u64,
    /// How long ago, seconds.
    pub seconds_ago: f64,
}

/// The dead letters of a tree.
#[derive(Debug, Default)]
pub struct DeadLetters(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    counts: BTreeMap<(Arc<str>, &'static str, DeadReason), u64>,
    recent: VecDeque<(Instant, Arc<str>, &'static str, DeadReason, u64)>,
}

impl DeadLetters {
    pub(crate) fn add(&self, recipient: &Arc<str>, message: &'static str, reason: DeadReason, count: u64) {
        if count == 0 {
            return;
        }
        let mut kept = self.kept();
        *kept.counts.entry((Arc::clone(recipient), message, reason)).or_default() += count;
        if kept.recent.len() == RECENT {
            kept.recent.pop_front();
        }
        kept.recent.push_back((Instant::now(), Arc::clone(recipient), message, reason, count));
    }

    /// How many there were, by recipient, type and reason.
    #[must_use]
    pub fn counts(&self) -> Vec<DeadCount> {
        let counts = self.kept().counts.clone().into_iter();
        counts.map(|((recipient, message, reason), count)| DeadCount { recipient, message, reason, count }).collect()
    }

    /// The latest, oldest first.
    #[must_use]
    pub fn recent(&self) -> Vec<DeadLetter> {
        let kept = self.kept();
        let letter = |(at, recipient, message, reason, count): &(Instant, Arc<str>, &'static str, DeadReason, u64)| {
            let seconds_ago = at.elapsed().as_secs_f64();
            DeadLetter { recipient: Arc::clone(recipient), message, reason: *reason, count: *count, seconds_ago }
        };
        kept.recent.iter().map(letter).collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_the_latest_are_kept() {
        let (dead, judge) = (DeadLetters::default(), Arc::from("judge"));
        for _ in 0..100 {
            dead.add(&judge, "JudgeMsg", DeadReason::Down, 1);
        }
        dead.add(&judge, "JudgeMsg", DeadReason::Lost, 7);
        dead.add(&judge, "JudgeMsg", DeadReason::Lost, 0);
        let counts: Vec<_> = dead.counts().iter().map(|count| (count.reason, count.count)).collect();
        assert_eq!(counts, [(DeadReason::Down, 100), (DeadReason::Lost, 7)]);
        assert_eq!((dead.recent().len(), dead.recent()[RECENT - 1].count), (RECENT, 7));
    }
}
