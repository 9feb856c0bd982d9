//! What the actors decide, as pure state machines: events in, decisions out. Time, randomness and ids are arguments.

mod health;
mod plan;
mod recollection;
mod resampling;
mod round;
mod summary;
mod suspicion;

pub use health::{
    AutoAdjust, Beside, Condition, ConditionError, Configured, EarlyStopping, Health, HealthBoard, HealthIssue,
    HealthLevel, HealthStatus, Issue, Policies, Profile, Rule, Verdict, Watchdog, signals, standard_rules,
};
pub use plan::{Place, Plan, Task};
pub use recollection::{Recollection, RecordedStep};
pub use resampling::informative;
pub use round::{Decision, Harvest, Retries, Round};
pub use summary::Summary;
pub use suspicion::suspect;
