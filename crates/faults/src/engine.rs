//! An engine that fails on demand.

use std::sync::Arc;
use std::thread::sleep;

use stateset_domain::{Digest, Engine, EngineError, GenerateRequest, PolicySnapshot, Poll};

use crate::{Injector, Kind, Site};

/// Another engine, whose steps fail when the plan says so.
pub struct FaultyEngine {
    inner: Box<dyn Engine>,
    injector: Arc<Injector>,
}

impl FaultyEngine {
    /// `inner`, with the faults of [`Site::Engine`].
    pub fn new(inner: Box<dyn Engine>, injector: Arc<Injector>) -> Self {
        Self { inner, injector }
    }
}

impl Engine for FaultyEngine {
    fn load(&mut self, snapshot: &PolicySnapshot) -> Result<Digest, EngineError> {
        self.inner.load(snapshot)
    }

    fn submit(&mut self, request: GenerateRequest) -> Result<(), EngineError> {
        self.inner.submit(request)
    }

    fn step(&mut self) -> Result<Poll, EngineError> {
        if let Some(injected) = self.injector.visit(Site::Engine) {
            match injected.fault.kind {
                Kind::Panic => injected.panic(),
                Kind::Error => return Err(EngineError::Compute(injected.text())),
                // Both hold the thread: here only their length tells them apart.
                _ => sleep(injected.fault.lasts),
            }
        }
        self.inner.step()
    }

    fn release(&mut self, conversation: u64) {
        self.inner.release(conversation);
    }
}
