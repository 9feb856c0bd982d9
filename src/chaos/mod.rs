//! A whole run under faults: which limits it gets, and whether the guarantees held.

mod calm;
mod limits;
mod verdict;

pub(crate) use calm::Calm;
pub(crate) use limits::limits;
pub(crate) use verdict::{Evidence, Verdict};
