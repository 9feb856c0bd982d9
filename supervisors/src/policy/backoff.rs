//! How long to wait before a restart.
//!
//! Exponential, because a child that keeps failing usually waits for something that a hurried restart only disturbs; with full jitter
//! (uniform from zero to the ceiling), because children that failed together must not return together; and forgotten once an
//! incarnation has been healthy for a while, because a failure a day is not a crash loop.

use std::time::Duration;

use stateset_domain::Stream;

/// The waits of one supervisor's children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Ceiling of the first wait; it doubles with each failure. Zero means that restarts never wait.
    pub first: Duration,
    /// The ceiling's own ceiling.
    pub cap: Duration,
    /// An incarnation that lives this long clears its child's record.
    pub reset_after: Duration,
}

impl Default for Backoff {
    /// 200 ms doubling to 30 s, cleared by a healthy minute.
    fn default() -> Self {
        Self { first: Duration::from_millis(200), cap: Duration::from_secs(30), reset_after: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// Restarts that never wait.
    pub const NONE: Self = Self { first: Duration::ZERO, cap: Duration::ZERO, reset_after: Duration::ZERO };

    /// The longest wait after `failures` earlier ones in a row.
    #[must_use]
    pub fn ceiling(&self, failures: u32) -> Duration {
        self.first.saturating_mul(1 << failures.min(31)).min(self.cap)
    }
}

/// One child's failures since it was last healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failures(u32);

impl Failures {
    /// Counts a failure and draws the wait that answers it. `lived` is how long the incarnation was up; none if it never was.
    pub fn next_delay(&mut self, backoff: &Backoff, lived: Option<Duration>, random: &mut Stream) -> Duration {
        if lived.is_some_and(|lived| lived >= backoff.reset_after) {
            self.0 = 0;
        }
        let ceiling = backoff.ceiling(self.0);
        self.0 = self.0.saturating_add(1);
        ceiling.mul_f64(random.uniform())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const BACKOFF: Backoff =
        Backoff { first: SECOND, cap: Duration::from_secs(10), reset_after: Duration::from_secs(60) };

    #[test]
    fn ceilings_double_up_to_the_cap() {
        assert_eq!([0, 1, 2, 3, 4, 99].map(|n| BACKOFF.ceiling(n).as_secs()), [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn waits_fill_the_range_below_their_ceiling() {
        let mut random = Stream::new(1);
        let waits: Vec<Duration> = (0..1000).map(|_| Failures(2).next_delay(&BACKOFF, None, &mut random)).collect();
        assert!(waits.iter().all(|wait| *wait < SECOND * 4));
        let mean = waits.iter().sum::<Duration>() / 1000;
        assert!(
            mean > SECOND * 19 / 10 && mean < SECOND * 21 / 10,
            "a uniform on [0 s, 4 s) has mean 2 s, not {mean:?}"
        );
    }

    #[test]
    fn a_healthy_incarnation_clears_the_record_and_a_brief_one_does_not() {
        let (mut random, mut failures) = (Stream::new(1), Failures(3));
        failures.next_delay(&BACKOFF, Some(SECOND * 59), &mut random);
        assert_eq!(failures, Failures(4));
        failures.next_delay(&BACKOFF, Some(SECOND * 60), &mut random);
        assert_eq!(failures, Failures(1));
    }
}
