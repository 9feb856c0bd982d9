//! Whether a writer is still the one who may write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A writer's right to write, until it is given to the next.
///
/// Whoever replaces a writer that does not answer cannot know that it never will: it may only be slow. So the right to write has an
/// epoch, and every writer keeps the one it began with. Before it commits anything it asks its fence; once a later epoch has begun the
/// answer is no, for ever.
#[derive(Debug, Clone)]
pub struct Fence {
    current: Arc<AtomicU64>,
    epoch: u64,
}

impl Fence {
    /// The right to write while `current` is `epoch`.
    #[must_use]
    pub fn new(current: Arc<AtomicU64>, epoch: u64) -> Self {
        Self { current, epoch }
    }

    /// The right of a writer that nobody will ever replace.
    #[must_use]
    pub fn alone() -> Self {
        Self { current: Arc::default(), epoch: 0 }
    }

    /// Whether it still may.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.now() == self.epoch
    }

    /// The epoch that may write now.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.current.load(Ordering::SeqCst)
    }

    /// The epoch it began with.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_holds_until_the_next_epoch_begins_and_never_again() {
        let current = Arc::new(AtomicU64::new(1));
        let (first, second) = (Fence::new(current.clone(), 1), Fence::new(current.clone(), 2));
        assert!(first.holds() && !second.holds());
        current.store(2, Ordering::SeqCst);
        assert!(!first.holds() && second.holds());
        assert!(Fence::alone().holds());
    }
}
