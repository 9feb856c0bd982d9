//! The health of training: what is looked at, what is decided, and what is remembered.
//!
//! | File           | What                                                                                             |
//! |----------------|--------------------------------------------------------------------------------------------------|
//! | [`signals`]    | a step's numbers, and what detectors make of them with robust statistics                         |
//! | `expression`, `parse` | conditions on signals, in three-valued logic                                              |
//! | `rule`         | how long a condition lasts, hysteresis, cool-down, at most how often                              |
//! | `state`        | all rules over all steps: [`Health`] is asked after every step, by the learner, and answers a [`Verdict`] |
//! | `standard`     | the rules of a run that names none, and those of the profiles                                      |
//! | `stopping`     | ending a run that has stopped getting better                                                       |
//! | `watchdog`     | noticing that nothing moves at all                                                                 |
//!
//! Everything but the watchdog is a function of a run's own numbers, and what it remembers is part of every checkpoint. So what is
//! decided is as reproducible as what is learned: a run that is killed and resumed decides the same at the same steps.

mod expression;
mod parse;
mod rule;
mod settings;
pub mod signals;
mod standard;
mod state;
mod statistics;
mod status;
mod stopping;
mod watchdog;

#[cfg(test)]
mod tests;

pub use expression::Condition;
pub use parse::ConditionError;
pub use rule::Rule;
pub use settings::Configured;
pub use signals::Beside;
pub use standard::{AutoAdjust, Profile, standard_rules};
pub use state::{Health, Policies, Verdict};
pub use status::{HealthBoard, HealthIssue, HealthLevel, HealthStatus};
pub use stopping::EarlyStopping;
pub use watchdog::{Issue, Watchdog};
