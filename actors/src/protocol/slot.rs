//! The current policy, where every incarnation of the engine finds it.

use std::sync::{PoisonError, RwLock};

use stateset_domain::PolicySnapshot;

/// Holds the weights that are to be served. The learner writes it and then asks for a load; an engine that is restarted reads it.
#[derive(Debug, Default)]
pub struct PolicySlot {
    current: RwLock<Option<PolicySnapshot>>,
}

impl PolicySlot {
    /// The weights to serve, once there are any.
    #[must_use]
    pub fn current(&self) -> Option<PolicySnapshot> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces them.
    pub fn set(&self, snapshot: PolicySnapshot) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }
}
