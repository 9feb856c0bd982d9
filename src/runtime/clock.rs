//! How long a run has been going on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Seconds this run has been going on, earlier sessions included. What it says never goes back, whatever the machine's clock does:
/// only time that passes forwards is counted.
#[derive(Debug, Clone)]
pub(crate) struct Clock(Arc<Mutex<Hands>>);

#[derive(Debug)]
struct Hands {
    started: Instant,
    /// How far the machine's clock has been turned back, by faults.
    turned_back: Duration,
    /// What the machine's clock said last; before the start if it was turned back further than the run is old.
    last: i128,
    /// What this clock said last.
    said: Duration,
}

impl Clock {
    /// A clock that goes on from `before`.
    pub(crate) fn going_on(before: Duration) -> Self {
        let hands = Hands { started: Instant::now(), turned_back: Duration::ZERO, last: 0, said: before };
        Self(Arc::new(Mutex::new(hands)))
    }

    /// How long the run has been going on.
    pub(crate) fn read(&self) -> Duration {
        let mut hands = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = nanoseconds(hands.started.elapsed()) - nanoseconds(hands.turned_back);
        let passed = u64::try_from(now - hands.last).unwrap_or(0);
        hands.said += Duration::from_nanos(passed);
        hands.last = now;
        hands.said
    }

    /// Turns the machine's clock back, as far as this clock can see it.
    pub(crate) fn turn_back(&self, by: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).turned_back += by;
    }
}

fn nanoseconds(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back_and_goes_on_after_a_jump() {
        let clock = Clock::going_on(Duration::from_secs(7));
        let before = clock.read();
        assert!(before >= Duration::from_secs(7));
        clock.turn_back(Duration::from_secs(3600));
        let at_the_jump = clock.read();
        assert_eq!(at_the_jump, before);
        let after = (0..1_000_000).map(|_| clock.read()).find(|now| *now > at_the_jump);
        assert!(after.is_some_and(|after| after < before + Duration::from_secs(60)), "{after:?}");
    }
}
