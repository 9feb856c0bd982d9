//! Which ends of a child are answered by a restart.

use stateset_telemetry::ExitCause;

/// Whether a child comes back after it ended (OTP's restart types).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Restart {
    /// Always.
    Permanent,
    /// After every abnormal end; being killed is one.
    Transient,
    /// Never, not even when a sibling's failure stops it.
    Temporary,
}

impl Restart {
    /// Whether a child that ended by `cause` is restarted.
    #[must_use]
    pub fn applies(self, cause: &ExitCause) -> bool {
        match self {
            Self::Permanent => true,
            Self::Transient => cause.is_abnormal(),
            Self::Temporary => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_permanent_children_return_from_a_normal_end_and_temporary_ones_never_do() {
        use Restart::{Permanent, Temporary, Transient};
        let answers = |cause| [Permanent, Transient, Temporary].map(|restart: Restart| restart.applies(&cause));
        assert_eq!(answers(ExitCause::Normal), [true, false, false]);
        assert_eq!(answers(ExitCause::Killed), [true, true, false]);
        assert_eq!(answers(ExitCause::Panic("p".into())), [true, true, false]);
        assert_eq!(answers(ExitCause::StartFailed("s".into())), [true, true, false]);
    }
}
