//! Counters that can be read while every mailbox is stuck.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What has been done so far in this process. It only grows: work that was repeated after a restart counts again.
#[derive(Debug, Default)]
pub struct Vitals {
    steps: AtomicU64,
    episodes: AtomicU64,
    tokens: AtomicU64,
    calls: AtomicU64,
    pauses: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// Optimizer steps taken.
    pub steps: u64,
    /// Episodes accepted, of any purpose.
    pub episodes: u64,
    /// Tokens sampled.
    pub tokens: u64,
    /// Calls to dependencies that are not ours. One that is down is still asked now and then: waiting for it is no standstill.
    pub calls: u64,
    /// Seconds spent in pauses that a health rule ordered: they are no standstill either.
    pub pauses: u64,
}

impl Vitals {
    /// The counters now.
    #[must_use]
    pub fn read(&self) -> Reading {
        Reading {
            steps: self.steps.load(Relaxed),
            episodes: self.episodes.load(Relaxed),
            tokens: self.tokens.load(Relaxed),
            calls: self.calls.load(Relaxed),
            pauses: self.pauses.load(Relaxed),
        }
    }

    pub(crate) fn step_taken(&self) {
        self.steps.fetch_add(1, Relaxed);
    }

    pub(crate) fn episode_accepted(&self) {
        self.episodes.fetch_add(1, Relaxed);
    }

    pub(crate) fn dependency_called(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    pub(crate) fn paused(&self) {
        self.pauses.fetch_add(1, Relaxed);
    }

    pub(crate) fn tokens_sampled(&self, count: usize) {
        self.tokens.fetch_add(count as u64, Relaxed);
    }
}
