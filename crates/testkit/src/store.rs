//! A store in memory.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stateset_domain::{Checkpoint, Store, StoreError};

/// Keeps every checkpoint. Clones share them, so that they outlive an incarnation of whoever uses it.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    checkpoints: Vec<Checkpoint>,
    failures: usize,
}

impl MemoryStore {
    /// Every checkpoint so far, oldest first.
    #[must_use]
    pub fn checkpoints(&self) -> Vec<Checkpoint> {
        self.lock().checkpoints.clone()
    }

    /// Lets the next `count` saves fail.
    pub fn fail_next(&self, count: usize) {
        self.lock().failures = count;
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn save(&mut self, checkpoint: &Checkpoint) -> Result<PathBuf, StoreError> {
        let path = PathBuf::from(format!("memory/{}", checkpoint.progress.step));
        let mut shared = self.lock();
        if shared.failures > 0 {
            shared.failures -= 1;
            return Err(StoreError::Io { action: "write", path, source: std::io::ErrorKind::StorageFull.into() });
        }
        shared.checkpoints.push(checkpoint.clone());
        Ok(path)
    }

    fn latest(&self) -> Result<Option<Checkpoint>, StoreError> {
        Ok(self.lock().checkpoints.last().cloned())
    }

    fn oldest(&self) -> Result<Option<u64>, StoreError> {
        Ok(self.lock().checkpoints.first().map(|checkpoint| checkpoint.progress.step))
    }

    fn latest_healthy(&self, at_most: u64) -> Result<Option<Checkpoint>, StoreError> {
        let fits = |kept: &&Checkpoint| kept.progress.healthy && kept.progress.step <= at_most;
        Ok(self.lock().checkpoints.iter().rfind(fits).cloned())
    }

    fn forget_after(&mut self, step: u64) -> Result<(), StoreError> {
        self.lock().checkpoints.retain(|checkpoint| checkpoint.progress.step <= step);
        Ok(())
    }
}
