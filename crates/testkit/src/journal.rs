//! A journal in memory.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stateset_domain::{Durability, Entry, Journal, Record, Replay, StoreError};

/// Keeps every entry. Clones share them, so that they outlive an incarnation of whoever uses it.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    entries: Vec<Entry>,
    failures: usize,
    forgotten: u64,
}

impl MemoryJournal {
    /// Every entry that was not forgotten, oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone()
    }

    /// A journal that holds `entries`.
    #[must_use]
    pub fn of(entries: Vec<Entry>) -> Self {
        let journal = Self::default();
        journal.lock().entries = entries;
        journal
    }

    /// Lets the next `count` appends fail.
    pub fn fail_next(&self, count: usize) {
        self.lock().failures = count;
    }

    /// The step up to which everything was to be forgotten.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.lock().forgotten
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for MemoryJournal {
    fn append(&mut self, entries: &[Entry], _durability: Durability) -> Result<(), StoreError> {
        let mut shared = self.lock();
        if shared.failures > 0 {
            shared.failures -= 1;
            let path = PathBuf::from("memory/journal");
            return Err(StoreError::Io { action: "append to", path, source: std::io::ErrorKind::StorageFull.into() });
        }
        shared.entries.extend_from_slice(entries);
        Ok(())
    }

    fn replay(&mut self, step: u64) -> Result<Replay, StoreError> {
        let wanted = |entry: &&Entry| entry.record.step() > step || matches!(entry.record, Record::RunRestored { .. });
        Ok(Replay { entries: self.lock().entries.iter().filter(wanted).cloned().collect(), torn_bytes: 0 })
    }

    fn forget(&mut self, step: u64) -> Result<(), StoreError> {
        let mut shared = self.lock();
        shared.forgotten = step;
        shared.entries.retain(|entry| entry.record.step() > step);
        Ok(())
    }
}
