//! When a supervisor's work is done.
//!
//! A supervisor normally ends because it is told to. One whose children do something that comes to an end can end with them: children
//! are marked significant, and the supervisor says how many of those have to be done. It then ends normally, having stopped the others,
//! and if it is itself a significant child, its own supervisor may follow: a finished run takes its tree down from within.

use thiserror::Error;

use super::Restart;

/// Whether a supervisor ends when significant children have (OTP's `auto_shutdown`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AutoShutdown {
    /// It never does.
    #[default]
    Never,
    /// With the first of them.
    AnySignificant,
    /// With the last of them.
    AllSignificant,
}

/// A combination of settings that means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadCombination {
    /// A permanent child is restarted after every end, so it is never done.
    #[error("a permanent child cannot be significant: it never ends for good")]
    SignificantPermanent,
    /// The supervisor would not notice.
    #[error("a child cannot be significant under a supervisor that never shuts down by itself")]
    SignificantForNobody,
}

impl AutoShutdown {
    /// Accepts or refuses a child.
    ///
    /// # Errors
    /// [`BadCombination`], as in OTP.
    pub fn admit(self, restart: Restart, significant: bool) -> Result<(), BadCombination> {
        match (significant, restart, self) {
            (false, _, _) => Ok(()),
            (true, Restart::Permanent, _) => Err(BadCombination::SignificantPermanent),
            (true, _, Self::Never) => Err(BadCombination::SignificantForNobody),
            (true, _, Self::AnySignificant | Self::AllSignificant) => Ok(()),
        }
    }

    /// Whether the supervisor is done, a significant child having ended and `others` being still at work or about to return to it.
    #[must_use]
    pub fn is_done(self, others: usize) -> bool {
        match self {
            Self::Never => false,
            Self::AnySignificant => true,
            Self::AllSignificant => others == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_done_can_be_significant_and_only_to_someone() {
        use BadCombination::{SignificantForNobody, SignificantPermanent};
        let any = AutoShutdown::AnySignificant;
        assert_eq!(any.admit(Restart::Transient, true), Ok(()));
        assert_eq!(any.admit(Restart::Temporary, true), Ok(()));
        assert_eq!(any.admit(Restart::Permanent, true), Err(SignificantPermanent));
        assert_eq!(AutoShutdown::Never.admit(Restart::Transient, true), Err(SignificantForNobody));
        assert_eq!(AutoShutdown::Never.admit(Restart::Permanent, false), Ok(()));
    }
}
