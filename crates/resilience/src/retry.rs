//! When one call is worth another attempt.

use std::time::Duration;

use stateset_domain::Stream;

/// How often a call is attempted, and how long to wait in between: anything from nothing to a doubling ceiling, so that callers that
/// failed together do not return together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// Ceiling of the wait after the first attempt.
    pub first: Duration,
    /// The ceiling's own ceiling; also the most that a dependency's own wish is heeded.
    pub longest: Duration,
}

impl Retry {
    /// Whether `attempt`, from 1, was the last one.
    #[must_use]
    pub fn exhausted(&self, attempt: u32) -> bool {
        attempt >= self.attempts
    }

    /// The wait after `attempt`, from 1. If the dependency asked to be left alone for some time, not less than that.
    #[must_use]
    pub fn wait(&self, attempt: u32, asked: Option<Duration>, random: &mut Stream) -> Duration {
        let ceiling = self.first.saturating_mul(1 << attempt.saturating_sub(1).min(31)).min(self.longest);
        let drawn = ceiling.mul_f64(random.uniform());
        asked.unwrap_or_default().min(self.longest).max(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry { attempts: 3, first: Duration::from_millis(100), longest: Duration::from_millis(300) };

    #[test]
    fn waits_spread_below_a_doubling_ceiling() {
        let mut random = Stream::new(1);
        for (attempt, ceiling) in [(1, 100), (2, 200), (3, 300), (90, 300)] {
            let waits: Vec<_> = (0..200).map(|_| RETRY.wait(attempt, None, &mut random).as_millis()).collect();
            assert!(waits.iter().all(|wait| *wait <= ceiling), "attempt {attempt}: {waits:?}");
            let spread = waits.iter().max().unwrap() - waits.iter().min().unwrap();
            assert!(spread > ceiling * 8 / 10, "attempt {attempt} spreads over {spread} of {ceiling} ms");
        }
    }

    #[test]
    fn a_dependency_is_left_alone_for_as_long_as_it_asks_within_reason() {
        let mut random = Stream::new(2);
        let mut asked = |millis| RETRY.wait(1, Some(Duration::from_millis(millis)), &mut random).as_millis();
        assert_eq!((asked(250), asked(86_400_000)), (250, 300));
        assert!(asked(0) <= 100);
    }

    #[test]
    fn the_last_attempt_is_the_last() {
        assert_eq!([1, 2, 3, 4].map(|attempt| RETRY.exhausted(attempt)), [false, false, true, true]);
    }
}
