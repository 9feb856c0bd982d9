//! How often is too often.

use std::collections::VecDeque;
use std::time::Duration;

/// The restarts that are borne, of all of a supervisor's children or of one of them, before the supervisor concludes that restarting does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intensity {
    /// Restarts allowed within the window; 0 means that the first failure escalates.
    pub max_restarts: u32,
    /// The window. It slides: a restart counts until it is older than this.
    pub within: Duration,
}

impl Default for Intensity {
    /// Three within a minute: one accident, its echo, and one more.
    fn default() -> Self {
        Self { max_restarts: 3, within: Duration::from_secs(60) }
    }
}

/// The restarts within the window.
#[derive(Debug, Clone)]
pub struct RestartWindow {
    intensity: Intensity,
    recent: VecDeque<Duration>,
}

impl RestartWindow {
    /// A window in which nothing has happened.
    #[must_use]
    pub fn new(intensity: Intensity) -> Self {
        Self { intensity, recent: VecDeque::new() }
    }

    /// Counts a restart at `now`, and returns how many the window holds with it.
    pub fn record(&mut self, now: Duration) -> u32 {
        self.recent.push_back(now);
        self.count(now)
    }

    /// The restarts that are at most `within` old.
    pub fn count(&mut self, now: Duration) -> u32 {
        while self.recent.front().is_some_and(|then| *then + self.intensity.within < now) {
            self.recent.pop_front();
        }
        u32::try_from(self.recent.len()).unwrap_or(u32::MAX)
    }

    /// Forgets what has happened.
    pub fn clear(&mut self) {
        self.recent.clear();
    }

    /// Whether `restarts` are more than is borne.
    #[must_use]
    pub fn exceeded_by(&self, restarts: u32) -> bool {
        restarts > self.intensity.max_restarts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_counts_until_it_is_older_than_the_window() {
        let second = Duration::from_secs(1);
        let mut window = RestartWindow::new(Intensity { max_restarts: 2, within: second * 5 });
        assert_eq!([0, 1, 5].map(|at| window.record(second * at)), [1, 2, 3]);
        assert_eq!(window.record(second * 6), 3, "the one at 0 is gone, the one at 1 is exactly 5 s old");
        assert!(window.exceeded_by(3) && !window.exceeded_by(2));
    }
}
