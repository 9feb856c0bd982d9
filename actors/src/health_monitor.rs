//! The health monitor actor: notices when no steps are taken.
//!
//! What steps look like is judged by the learner, which has to act on it.
//!
//! It reads shared counters and the table of live conversations, so that it works while every other mailbox is stuck. When nothing moves
//! for too long it says who waits for whom, and has the one restarted who is to blame. If that does not help, the
//! [`LastResort`](crate::LastResort) ends the process.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use stateset_telemetry::Event;
use tokio::time::Instant;

use crate::policy::{Issue, Watchdog, suspect};
use crate::protocol::{HealthMsg, Instruments, Site};

/// Has an actor restarted, with all that depends on it. Must not wait for it.
pub type Restarter = Arc<dyn Fn(Site) + Send + Sync>;

/// Reports what looks unhealthy.
#[derive(Debug, Clone, Copy, Default)]
pub struct HealthMonitorActor;

/// What a [`HealthMonitorActor`] starts with.
#[derive(Clone)]
pub struct HealthMonitorArguments {
    /// How long the counters may stand still.
    pub stall: Duration,
    /// Restarts who is to blame for it.
    pub restart: Restarter,
    /// What to read, and to report through.
    pub instruments: Instruments,
}

/// What the monitor remembers.
pub struct HealthMonitorState {
    watchdog: Option<Watchdog>,
    stall: Duration,
    restart: Restarter,
    /// Time between two looks at the counters.
    period: Duration,
    started: Instant,
    instruments: Instruments,
}

impl Actor for HealthMonitorActor {
    type Msg = HealthMsg;
    type State = HealthMonitorState;
    type Arguments = HealthMonitorArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<HealthMsg>,
        arguments: HealthMonitorArguments,
    ) -> Result<HealthMonitorState, ActorProcessingErr> {
        let HealthMonitorArguments { stall, restart, instruments } = arguments;
        let period = stall / 4;
        myself.send_after(period, || HealthMsg::Tick);
        let (watchdog, started) = (Some(Watchdog::new(stall)), Instant::now());
        Ok(HealthMonitorState { watchdog, stall, restart, period, started, instruments })
    }

    async fn handle(
        &self,
        myself: ActorRef<HealthMsg>,
        message: HealthMsg,
        state: &mut HealthMonitorState,
    ) -> Result<(), ActorProcessingErr> {
        state.instruments.visit(Site::HealthMonitor).await?;
        match message {
            HealthMsg::Step => state.look(),
            HealthMsg::Tick => {
                state.look();
                if state.watchdog.is_some() {
                    myself.send_after(state.period, || HealthMsg::Tick);
                }
            }
            HealthMsg::Finished => state.watchdog = None,
        }
        Ok(())
    }
}

impl HealthMonitorState {
    fn look(&mut self) {
        let (reading, now) = (self.instruments.vitals.read(), self.started.elapsed());
        if let Some(issue) = self.watchdog.as_mut().and_then(|watchdog| watchdog.look(reading, now)) {
            self.unblock(issue);
        }
    }

    /// Says who waits for whom, and has the one restarted who is to blame.
    fn unblock(&self, stall: Issue) {
        let sight = self.instruments.look();
        let blamed = suspect(&sight, self.stall);
        let (waits, action) = (sight.lines(), format!("{blamed} is restarted"));
        let told = format!("nothing has moved for {:.0} s; {action}; {}", stall.value, waits.join("; "));
        self.instruments.health.stalled(Some(told));
        self.instruments.emit(Event::Stalled { still_seconds: stall.value, waits, action });
        (self.restart)(blamed);
    }
}
