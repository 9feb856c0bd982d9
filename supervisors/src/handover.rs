//! What an incarnation leaves for the next.
//!
//! Most children begin anew and are better for it. One that would lose something worth keeping leaves a snapshot now and then; the next
//! incarnation finds it at its start. The snapshot belongs to the supervisor: it outlives whoever left it, and goes when the child or
//! the supervisor does. A start that fails with a snapshot in hand clears it, so that a bad one is tried once.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Kept = Option<Arc<dyn Any + Send + Sync>>;

/// Where a supervisor keeps one child's snapshot, whatever its type.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<Kept>>);

impl Slot {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clear(&self) {
        *self.kept() = None;
    }
}

/// A child's place for snapshots of type `T`.
pub struct Handover<T> {
    slot: Slot,
    of: PhantomData<fn(T) -> T>,
}

impl<T: Send + Sync + 'static> Handover<T> {
    pub(crate) fn new(slot: Slot) -> Self {
        Self { slot, of: PhantomData }
    }

    /// What was left last, if anything was.
    #[must_use]
    pub fn received(&self) -> Option<Arc<T>> {
        self.slot.kept().clone().and_then(|kept| kept.downcast().ok())
    }

    /// Leaves `snapshot` for the next incarnation, in place of what was left before.
    pub fn leave(&self, snapshot: T) {
        *self.slot.kept() = Some(Arc::new(snapshot));
    }
}

impl<T> Clone for Handover<T> {
    fn clone(&self) -> Self {
        Self { slot: self.slot.clone(), of: PhantomData }
    }
}
