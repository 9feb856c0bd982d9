//! The ladder: drain, stop, kill, and if nothing helps, leave behind.
//!
//! | Rung   | What it does                                                       | `post_stop` runs |
//! |--------|--------------------------------------------------------------------|------------------|
//! | drain  | refuses new messages, finishes those that wait                     | yes              |
//! | stop   | ends after the current message                                     | yes              |
//! | kill   | drops the current handler at its next await point                  | no               |
//! | zombie | a handler that never awaits cannot be ended; its thread is lost    | no               |

use std::time::Duration;

use ractor::ActorCell;
use stateset_telemetry::StopMeans;
use tokio::time::timeout;

use crate::Incarnation;

/// How long each phase of a child's life at its supervisor's hands may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// To start.
    pub start: Duration,
    /// To finish its queue. Zero skips this rung.
    pub drain: Duration,
    /// To finish its current message. Zero skips this rung.
    pub stop: Duration,
    /// To be gone once killed: its task over and its state dropped.
    pub kill: Duration,
}

impl Default for Budgets {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self { start: second * 5, drain: second * 5, stop: second * 2, kill: second }
    }
}

impl Budgets {
    /// OTP's `infinity`: a supervisor's start and stop are bounded by the budgets of what it supervises.
    pub(crate) const SUPERVISOR: Self =
        Self { start: Duration::MAX, drain: Duration::ZERO, stop: Duration::MAX, kill: Duration::from_secs(1) };

    /// The whole ladder: what a child that ends of itself may take to drop its state.
    pub(crate) fn to_end(self) -> Duration {
        self.drain.saturating_add(self.stop).saturating_add(self.kill)
    }
}

/// A child that was stopped on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Its supervisor.
    pub supervisor: String,
    /// The child.
    pub child: String,
    /// How far down the ladder it had to be taken.
    pub means: StopMeans,
}

impl Incarnation {
    /// Takes it down the ladder. Also returns what it stopped in turn.
    ///
    /// Its supervisor is unlinked first: an end that was asked for is no news, and nobody then holds the state that ractor would send.
    pub(crate) async fn stop(mut self, supervisor: &ActorCell, budgets: Budgets) -> (StopMeans, Vec<Stopped>) {
        self.cell.unlink(supervisor.clone());
        let means = self.descend(budgets).await;
        (means, self.note().take_stopped())
    }

    async fn descend(&mut self, Budgets { drain, stop, kill, .. }: Budgets) -> StopMeans {
        if !drain.is_zero() {
            // Refused only by an actor that is already ending.
            let _ = self.cell.drain();
            if timeout(drain, self.gone()).await.is_ok() {
                return StopMeans::Drained;
            }
        }
        if !stop.is_zero() {
            self.cell.stop(None);
            if timeout(stop, self.gone()).await.is_ok() {
                return StopMeans::Stopped;
            }
        }
        self.cell.kill();
        if timeout(kill, self.gone()).await.is_ok() { StopMeans::Killed } else { StopMeans::Zombie }
    }
}
