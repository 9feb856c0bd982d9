//! Whom a failure concerns.

use std::collections::BTreeMap;

use super::ChildKey;

/// Which children are restarted when one of them has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// The failed child alone: siblings do not depend on each other.
    OneForOne,
    /// All children: each depends on all others.
    OneForAll,
    /// The failed child and all that were started after it: each may depend on those before it.
    RestForOne,
}

impl Strategy {
    /// Its name, as in OTP and in configurations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OneForOne => "one_for_one",
            Self::OneForAll => "one_for_all",
            Self::RestForOne => "rest_for_one",
        }
    }

    /// The children concerned by the failure of `failed`, itself included, in start order.
    #[must_use]
    pub fn concerned<T>(self, children: &BTreeMap<ChildKey, T>, failed: ChildKey) -> Vec<ChildKey> {
        match self {
            Self::OneForOne => vec![failed],
            Self::OneForAll => children.keys().copied().collect(),
            Self::RestForOne => children.range(failed..).map(|(key, _)| *key).collect(),
        }
    }
}
