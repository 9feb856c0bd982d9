//! What a supervisor decides, without the means to do it: no actors, no clock, no runtime.
//!
//! Time is a [`Duration`](std::time::Duration) since the supervisor began, randomness a [`Stream`](stateset_domain::Stream); both are
//! arguments, so a run of events has one outcome and every rule is an ordinary test.

mod backoff;
mod excess;
mod intensity;
mod restart;
mod significance;
mod strategy;
mod supervision;

pub use backoff::{Backoff, Failures};
pub use excess::Excess;
pub use intensity::{Intensity, RestartWindow};
pub use restart::Restart;
pub use significance::{AutoShutdown, BadCombination};
pub use strategy::Strategy;
pub use supervision::{
    ChildKey, ChildRules, Decision, Event, GiveUpReason, Plan, Rules, SetAside, Supervision, Ticket,
};
