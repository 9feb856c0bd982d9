//! What follows when restarting does not help.

use std::time::Duration;

/// The answer to one failure too many, by a supervisor's count or by a child's own.
///
/// | Answer                     | The child                               | Its siblings     | The supervisor          |
/// |----------------------------|-----------------------------------------|------------------|-------------------------|
/// | [`Excess::GiveUp`]         | is stopped with all others              | are stopped      | ends: its own supervisor has a failed child |
/// | [`Excess::Quarantine`]     | stays down, and is tried again later    | go on            | goes on, counting from 0 |
/// | [`Excess::Degrade`]        | stays down until somebody restarts it   | go on            | goes on, counting from 0 |
///
/// Giving up is right where the siblings depend on the child. Quarantine is for what may heal by itself, like a service that is being
/// repaired; to degrade is to live without something that is good to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Excess {
    /// The supervisor gives up.
    #[default]
    GiveUp,
    /// The child is left alone for so long, then restarted with a clean record.
    Quarantine {
        /// How long.
        cool_off: Duration,
    },
    /// The child is not restarted any more.
    Degrade,
}
