//! A store that fails on demand.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;

use stateset_domain::{Checkpoint, Store, StoreError};

use crate::{Injector, Kind, Site};

/// Leaves behind what a write of the checkpoint leaves that was cut short.
pub type Tear = Arc<dyn Fn(&Checkpoint) + Send + Sync>;

/// Another store, whose writes fail when the plan says so.
pub struct FaultyStore {
    inner: Box<dyn Store>,
    injector: Arc<Injector>,
    tear: Tear,
}

impl FaultyStore {
    /// `inner`, with the faults of [`Site::Store`].
    pub fn new(inner: Box<dyn Store>, injector: Arc<Injector>, tear: Tear) -> Self {
        Self { inner, injector, tear }
    }
}

impl Store for FaultyStore {
    fn save(&mut self, checkpoint: &Checkpoint) -> Result<PathBuf, StoreError> {
        if let Some(injected) = self.injector.visit(Site::Store) {
            match injected.fault.kind {
                Kind::Panic => injected.panic(),
                Kind::DiskFull => {
                    let path = PathBuf::from(format!("the checkpoint of step {}", checkpoint.progress.step));
                    return Err(StoreError::Io { action: "write", path, source: ErrorKind::StorageFull.into() });
                }
                Kind::TornWrite => {
                    (self.tear)(checkpoint);
                    injected.panic()
                }
                // Both hold the thread: here only their length tells them apart.
                _ => sleep(injected.fault.lasts),
            }
        }
        self.inner.save(checkpoint)
    }

    fn latest(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.inner.latest()
    }

    fn latest_healthy(&self, at_most: u64) -> Result<Option<Checkpoint>, StoreError> {
        self.inner.latest_healthy(at_most)
    }

    fn forget_after(&mut self, step: u64) -> Result<(), StoreError> {
        self.inner.forget_after(step)
    }

    fn oldest(&self) -> Result<Option<u64>, StoreError> {
        self.inner.oldest()
    }
}
