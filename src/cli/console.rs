//! What goes wrong, told on the console as it happens. The whole story is in `events.jsonl`.

use stateset_domain::BreakerState;
use stateset_telemetry::{Event, EventSink, ExitCause};

/// Logs failures and what is done about them.
pub(super) struct Console;

impl EventSink for Console {
    fn emit(&self, event: Event) {
        match event {
            Event::ChildExited { child, cause, .. } => exited(&child, &cause),
            Event::Escalated { supervisor, child, restarts_in_window, .. } => {
                tracing::error!("{supervisor} gives up on {child} after {restarts_in_window} restarts");
            }
            Event::ChildSetAside { child, restarts_in_window, quarantine_seconds: Some(seconds), .. } => {
                tracing::warn!("{child} is left alone for {seconds:.0} s after {restarts_in_window} restarts");
            }
            Event::ChildSetAside { child, restarts_in_window, quarantine_seconds: None, .. } => {
                tracing::error!("{child} is down for good after {restarts_in_window} restarts; the others go on");
            }
            Event::ThreadFenced { thread, epoch } => {
                tracing::error!("thread {epoch} of {thread} does not end; it is left behind, and can write no more");
            }
            Event::Stalled { still_seconds, waits, action } => {
                tracing::error!("nothing has moved for {still_seconds:.0} s; {action}");
                waits.iter().for_each(|line| tracing::error!("  {line}"));
            }
            Event::EpisodeFailed { episode, attempts, failure } => {
                tracing::debug!("{episode} is given up on after {attempts} attempts: {failure}");
            }
            Event::EpisodeRetried { episode, attempt, failure } => {
                tracing::debug!("{episode} is tried again, attempt {attempt} failed: {failure}");
            }
            Event::CheckpointFailed { step, cause } => tracing::warn!("step {step} is not saved: {cause}"),
            Event::StepSkipped { step } => {
                tracing::warn!("step {step} is skipped: loss or gradient not finite, or taken back by a rule")
            }
            Event::JournalRead { step, episodes, .. } => {
                tracing::info!("going on from step {step}, with {episodes} accepted episodes of later steps");
            }
            Event::JournalFailed { cause, .. } => tracing::warn!("accepted episodes are not on disk: {cause}"),
            Event::ReplayDiverged { step, .. } => {
                tracing::warn!("step {step} led to other weights than before; later steps are rolled out anew");
            }
            Event::BreakerChanged { dependency, to, open_seconds, reason, .. } => {
                breaker(&dependency, to, open_seconds, &reason);
            }
            Event::Ruled(ruling) => tracing::warn!("step {}: {ruling}, since {}", ruling.step, ruling.grounds()),
            Event::RunStarted { .. }
            | Event::RunFinished { .. }
            | Event::ChildStarted { .. }
            | Event::ChildStopped { .. }
            | Event::RestartScheduled { .. }
            | Event::WeightsLoaded { .. }
            | Event::CheckpointSaved { .. }
            | Event::SupervisorFinished { .. }
            | Event::EpisodesReplayed { .. }
            | Event::FaultInjected { .. }
            // The one that watches says so itself.
            | Event::WorkerRestarted { .. }
            | Event::Restored { .. }
            // Told to whoever asked.
            | Event::ConfigReloaded { .. }
            | Event::ReloadRefused { .. } => {}
        }
    }
}

fn breaker(dependency: &str, to: BreakerState, open_seconds: f64, reason: &str) {
    match to {
        BreakerState::Open => {
            tracing::warn!("{dependency} is left alone for {open_seconds:.1} s, and waited for: {reason}");
        }
        BreakerState::HalfOpen => tracing::debug!("{dependency} is tried again"),
        BreakerState::Closed => tracing::warn!("{dependency} is back: {reason}"),
        BreakerState::ForcedOpen | BreakerState::ForcedClosed => tracing::warn!("{dependency} is {to}: {reason}"),
    }
}

fn exited(child: &str, cause: &ExitCause) {
    match cause {
        ExitCause::Normal => {}
        ExitCause::Error(why) => tracing::warn!("{child} failed: {why}"),
        ExitCause::Panic(why) => tracing::warn!("{child} panicked: {why}"),
        ExitCause::Killed => tracing::warn!("{child} was killed"),
        ExitCause::StartFailed(why) => tracing::warn!("{child} could not be started: {why}"),
    }
}
