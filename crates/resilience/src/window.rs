//! The calls that a breaker judges by: the last so many, or those of the last so long. Counting one costs the same however many
//! there are: what leaves the window is subtracted from the total.

use std::ops::{AddAssign, SubAssign};
use std::time::Duration;

/// Which calls count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The last so many. At least 1.
    Calls(u32),
    /// Those of the last `span`, forgotten a bucket at a time.
    Time {
        /// How far back. Above 0.
        span: Duration,
        /// Into how many buckets it is divided. At least 1.
        buckets: u32,
    },
}

/// How many calls went how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Calls that were settled.
    pub calls: u32,
    /// Those that failed.
    pub failures: u32,
    /// Those that took long, failed or not.
    pub slow: u32,
}

impl Tally {
    /// Share of calls that failed; 0 of none.
    #[must_use]
    pub fn failure_rate(&self) -> f64 {
        f64::from(self.failures) / f64::from(self.calls.max(1))
    }

    /// Share of calls that took long; 0 of none.
    #[must_use]
    pub fn slow_rate(&self) -> f64 {
        f64::from(self.slow) / f64::from(self.calls.max(1))
    }

    /// One call.
    pub(crate) fn one(failed: bool, slow: bool) -> Self {
        Self { calls: 1, failures: u32::from(failed), slow: u32::from(slow) }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.calls += more.calls;
        self.failures += more.failures;
        self.slow += more.slow;
    }
}

impl SubAssign for Tally {
    fn sub_assign(&mut self, less: Self) {
        self.calls -= less.calls;
        self.failures -= less.failures;
        self.slow -= less.slow;
    }
}

/// A ring of cells, each a call or a bucket of calls, and their sum.
#[derive(Debug)]
pub(crate) struct Outcomes {
    /// The width of a bucket; `None` if each cell is a call.
    width: Option<Duration>,
    cells: Vec<Tally>,
    /// For calls, how many have been counted; for buckets, the number of the newest one since time began.
    at: u64,
    total: Tally,
}

impl Outcomes {
    pub(crate) fn new(window: Window) -> Self {
        let (width, cells) = match window {
            Window::Calls(calls) => (None, calls),
            Window::Time { span, buckets } => (Some((span / buckets.max(1)).max(Duration::from_nanos(1))), buckets),
        };
        Self { width, cells: vec![Tally::default(); cells.max(1) as usize], at: 0, total: Tally::default() }
    }

    /// Counts a call that was settled at `now`.
    pub(crate) fn count(&mut self, call: Tally, now: Duration) {
        match self.width {
            None => {
                let cell = self.cell(self.at);
                self.total -= std::mem::replace(&mut self.cells[cell], call);
                self.at += 1;
            }
            Some(_) => {
                self.forget(now);
                let cell = self.cell(self.at);
                self.cells[cell] += call;
            }
        }
        self.total += call;
    }

    /// The calls in the window at `now`.
    pub(crate) fn tally(&mut self, now: Duration) -> Tally {
        self.forget(now);
        self.total
    }

    /// Empties the window.
    pub(crate) fn clear(&mut self) {
        self.cells.fill(Tally::default());
        self.total = Tally::default();
    }

    /// Drops the buckets that `now` has left behind: never more than there are. A clock that goes back changes nothing.
    fn forget(&mut self, now: Duration) {
        let Some(width) = self.width else { return };
        let newest = u64::try_from(now.as_nanos() / width.as_nanos()).unwrap_or(u64::MAX).max(self.at);
        let passed = (newest - self.at).min(self.cells.len() as u64);
        self.at = newest;
        for number in (newest + 1 - passed)..=newest {
            let cell = self.cell(number);
            self.total -= std::mem::take(&mut self.cells[cell]);
        }
    }

    fn cell(&self, number: u64) -> usize {
        (number % self.cells.len() as u64) as usize
    }
}
