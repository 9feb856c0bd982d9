//! Whether a worker that ended is started again. Pure: time and randomness are handed in.

use std::fmt;
use std::time::Duration;

use stateset_domain::Stream;
use stateset_supervisors::policy::{Failures, RestartWindow};
use stateset_supervisors::{Backoff, Intensity};

/// The exit codes that are a worker's last word: done, refused, interrupted.
const FINAL: [i32; 3] = [0, 2, INTERRUPTED as i32];
/// What a shell says of a program that Ctrl-C ended.
pub(crate) const INTERRUPTED: u8 = 130;
/// What a worker says that wants to be started again.
const AGAIN: i32 = 75;

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It said so itself.
    Code(i32),
    /// A signal ended it: a kill, an abort, or the system was out of memory.
    Signal(i32),
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing more: this is the code to end with.
    End(u8),
    /// Start it again.
    Restart {
        /// Which restart this is, from 1.
        attempt: u32,
        /// Restarts within the window, this one included.
        recent: u32,
        /// How long to wait first.
        delay: Duration,
    },
    /// It was started again too often.
    GiveUp {
        /// Restarts within the window, the one that is too many included.
        recent: u32,
    },
}

/// What the parent remembers of its worker.
pub(crate) struct Watch {
    intensity: Intensity,
    window: RestartWindow,
    backoff: Backoff,
    failures: Failures,
    random: Stream,
    attempts: u32,
    ending: bool,
}

impl Watch {
    pub(crate) fn new(intensity: Intensity, backoff: Backoff, random: Stream) -> Self {
        let window = RestartWindow::new(intensity);
        Self { intensity, window, backoff, failures: Failures::default(), random, attempts: 0, ending: false }
    }

    /// The worker was asked to end: however it does so, it is not started again.
    pub(crate) fn end(&mut self) {
        self.ending = true;
    }

    /// The worker ended at `now`, after it had `lived` for so long.
    pub(crate) fn on_exit(&mut self, ended: Ended, lived: Duration, now: Duration) -> Decision {
        match ended {
            Ended::Code(code) if FINAL.contains(&code) => return Decision::End(code as u8),
            Ended::Code(code) if self.ending => return Decision::End(u8::try_from(code).unwrap_or(1)),
            Ended::Signal(_) if self.ending => return Decision::End(INTERRUPTED),
            Ended::Code(_) | Ended::Signal(_) => {}
        }
        let recent = self.window.record(now);
        if self.window.exceeded_by(recent) {
            return Decision::GiveUp { recent };
        }
        self.attempts += 1;
        let delay = self.failures.next_delay(&self.backoff, Some(lived), &mut self.random);
        Decision::Restart { attempt: self.attempts, recent, delay }
    }

    /// How many restarts are borne, and within how long.
    pub(crate) fn intensity(&self) -> Intensity {
        self.intensity
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(AGAIN) => write!(f, "asked to be started again (exit code {AGAIN})"),
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(9) => write!(f, "was killed (signal 9)"),
            Self::Signal(6) => write!(f, "aborted (signal 6)"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn watch(max_restarts: u32) -> Watch {
        let backoff = Backoff { first: SECOND, cap: SECOND * 8, reset_after: SECOND * 60 };
        Watch::new(Intensity { max_restarts, within: SECOND * 60 }, backoff, Stream::new(3))
    }

    fn restarts(decision: Decision) -> bool {
        matches!(decision, Decision::Restart { .. })
    }

    #[test]
    fn what_was_said_at_the_end_is_passed_on() {
        for code in [0, 2, 130] {
            assert_eq!(watch(5).on_exit(Ended::Code(code), SECOND, SECOND), Decision::End(code as u8));
        }
    }

    #[test]
    fn what_was_cut_short_is_started_again() {
        let mut watch = watch(9);
        for ended in [1, 75, 101].map(Ended::Code).into_iter().chain([6, 9, 11].map(Ended::Signal)) {
            assert!(restarts(watch.on_exit(ended, SECOND, SECOND)), "{ended}");
        }
    }

    #[test]
    fn too_many_restarts_within_the_window_are_the_end_and_old_ones_are_forgotten() {
        let mut watch = watch(2);
        let mut at = |seconds| watch.on_exit(Ended::Signal(9), SECOND, SECOND * seconds);
        assert!(restarts(at(0)) && restarts(at(10)));
        assert!(restarts(at(61)), "the first one is too old to count");
        assert_eq!(at(62), Decision::GiveUp { recent: 3 });
    }

    #[test]
    fn waits_double_and_a_healthy_life_forgets_them() {
        let mut watch = watch(99);
        let mut delay = |lived| match watch.on_exit(Ended::Code(1), lived, SECOND) {
            Decision::Restart { delay, .. } => delay,
            other => panic!("{other:?}"),
        };
        let longest = (0..40).map(|_| delay(SECOND)).max().unwrap();
        assert!(longest > SECOND * 4 && longest <= SECOND * 8, "{longest:?}");
        assert!(delay(SECOND * 60) <= SECOND);
    }

    #[test]
    fn a_worker_that_was_asked_to_end_stays_ended() {
        let ended = |ended| {
            let mut watch = watch(5);
            watch.end();
            watch.on_exit(ended, SECOND, SECOND)
        };
        assert_eq!(ended(Ended::Signal(15)), Decision::End(130));
        assert_eq!(ended(Ended::Code(1)), Decision::End(1));
        assert_eq!(ended(Ended::Code(130)), Decision::End(130));
    }
}
