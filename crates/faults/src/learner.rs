//! A learner that fails on demand.

use std::sync::Arc;
use std::thread::sleep;

use stateset_domain::{Adjustments, Artifact, Group, Learner, LearnerError, PolicySnapshot, StepReport};

use crate::{Injector, Kind, Site};

/// Another learner, whose steps fail when the plan says so.
pub struct FaultyLearner {
    inner: Box<dyn Learner>,
    injector: Arc<Injector>,
}

impl FaultyLearner {
    /// `inner`, with the faults of [`Site::Optimizer`].
    pub fn new(inner: Box<dyn Learner>, injector: Arc<Injector>) -> Self {
        Self { inner, injector }
    }
}

impl Learner for FaultyLearner {
    fn step(&mut self, groups: &[Group]) -> Result<StepReport, LearnerError> {
        if let Some(injected) = self.injector.visit(Site::Optimizer) {
            match injected.fault.kind {
                Kind::Panic => injected.panic(),
                Kind::Error => return Err(LearnerError::Compute(injected.text())),
                Kind::NanGradient => self.inner.spoil_gradient(),
                // Both hold the thread: here only their length tells them apart.
                _ => sleep(injected.fault.lasts),
            }
        }
        self.inner.step(groups)
    }

    fn undo(&mut self) -> Result<(), LearnerError> {
        self.inner.undo()
    }

    fn adjust(&mut self, adjustments: &Adjustments) {
        self.inner.adjust(adjustments);
    }

    fn spoil_gradient(&mut self) {
        self.inner.spoil_gradient();
    }

    fn snapshot(&self) -> Result<PolicySnapshot, LearnerError> {
        self.inner.snapshot()
    }

    fn save(&self) -> Result<Vec<Artifact>, LearnerError> {
        self.inner.save()
    }

    fn restore(&mut self, artifacts: &[Artifact]) -> Result<(), LearnerError> {
        self.inner.restore(artifacts)
    }
}
