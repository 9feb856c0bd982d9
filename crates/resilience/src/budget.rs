//! How many retries there may be at all.
//!
//! When a dependency fails, every caller retries, and the load multiplies just when it can be borne least. A budget ties retries to the
//! calls that are made anyway: each call earns a share of a retry, each retry costs a whole one. A small reserve, earned back slowly
//! with time, lets a caller retry that makes few calls. (As in Finagle and in tower's `TpsBudget`, with time as an argument.)

use std::time::Duration;

/// A bucket of retries.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryBudget {
    share: f64,
    reserve: f64,
    per_second: f64,
    balance: f64,
    at: Duration,
}

impl RetryBudget {
    /// A budget in which each call earns `share` of a retry and each second `per_second` retries, which saves up to `reserve` retries
    /// and begins with that many.
    #[must_use]
    pub fn new(share: f64, per_second: f64, reserve: u32) -> Self {
        let reserve = f64::from(reserve.max(1));
        Self { share, reserve, per_second, balance: reserve, at: Duration::ZERO }
    }

    /// A call is made, for the first time.
    pub fn earn(&mut self) {
        self.balance = (self.balance + self.share).min(self.reserve);
    }

    /// Takes a retry out of the budget.
    ///
    /// # Errors
    /// If there is none: how long it takes until time alone has earned one.
    pub fn spend(&mut self, now: Duration) -> Result<(), Duration> {
        let earned = self.per_second * now.saturating_sub(self.at).as_secs_f64();
        (self.balance, self.at) = ((self.balance + earned).min(self.reserve), self.at.max(now));
        if self.balance >= 1.0 {
            self.balance -= 1.0;
            return Ok(());
        }
        let missing = (1.0 - self.balance) / self.per_second;
        // Rounded up, so that whoever waits that long finds a whole one.
        Err(Duration::try_from_secs_f64(missing).unwrap_or(Duration::MAX).saturating_add(Duration::from_micros(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_earn_a_share_of_a_retry_each() {
        let mut budget = RetryBudget::new(0.25, 0.5, 2);
        let now = Duration::ZERO;
        assert_eq!((budget.spend(now), budget.spend(now)), (Ok(()), Ok(())), "the reserve");
        (0..3).for_each(|_| budget.earn());
        // 3 * 0.25 are there, 0.25 is missing, at half a retry a second.
        assert_eq!(budget.spend(now), Err(Duration::from_micros(500_001)));
        budget.earn();
        assert_eq!(budget.spend(now), Ok(()));
    }

    #[test]
    fn whoever_waits_as_told_finds_a_retry_and_no_more_than_the_reserve_is_saved() {
        let mut budget = RetryBudget::new(0.0, 3.0, 1);
        let mut now = Duration::from_secs(100);
        assert_eq!(budget.spend(now), Ok(()));
        now += budget.spend(now).unwrap_err();
        assert_eq!(budget.spend(now), Ok(()));
        now += Duration::from_secs(3600);
        assert_eq!(budget.spend(now), Ok(()));
        assert!(budget.spend(now).is_err(), "an hour earns one, not ten thousand");
    }
}
