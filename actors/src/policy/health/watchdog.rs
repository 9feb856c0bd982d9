//! When nothing moves.

use std::time::Duration;

use crate::protocol::Reading;

/// A limit that was crossed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Issue {
    /// The rule's name.
    pub rule: &'static str,
    /// What was measured.
    pub value: f64,
    /// The limit.
    pub limit: f64,
}

/// Notices when the counters stop moving.
#[derive(Debug, Clone, PartialEq)]
pub struct Watchdog {
    limit: Duration,
    reading: Reading,
    /// When the counters last moved; `None` once it has barked about this stillness.
    since: Option<Duration>,
}

impl Watchdog {
    /// A watchdog that barks after `limit` without progress.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { limit, reading: Reading::default(), since: Some(Duration::ZERO) }
    }

    /// Looks at the counters at `now`, measured from the watchdog's start. Barks once for each stillness.
    pub fn look(&mut self, reading: Reading, now: Duration) -> Option<Issue> {
        if reading != self.reading {
            (self.reading, self.since) = (reading, Some(now));
            return None;
        }
        let still = now.saturating_sub(self.since?);
        (still >= self.limit).then(|| {
            self.since = None;
            Issue { rule: "stalled", value: still.as_secs_f64(), limit: self.limit.as_secs_f64() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_barks_once_for_each_stillness() {
        let seconds = Duration::from_secs;
        let mut dog = Watchdog::new(seconds(30));
        let reading = |tokens| Reading { tokens, ..Reading::default() };
        assert_eq!(dog.look(reading(5), seconds(20)), None);
        assert_eq!(dog.look(reading(5), seconds(49)), None);
        assert_eq!(dog.look(reading(5), seconds(55)).map(|issue| issue.value), Some(35.0));
        assert_eq!(dog.look(reading(5), seconds(99)), None, "once is enough");
        assert_eq!(dog.look(reading(6), seconds(100)), None);
        assert!(dog.look(reading(6), seconds(131)).is_some());
    }
}
