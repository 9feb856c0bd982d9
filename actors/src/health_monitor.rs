//! The health monitor actor: notices when no steps are taken.
//!
//! What steps look like is judged by the learner, which has to act on it.
//!
//! It reads shared counters and the table of live conversations, so that it works while every other mailbox is stuck.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use stateset_telemetry::Event;
use tokio::time::Instant;

use crate::policy::{Issue, Watchdog};
use crate::protocol::{HealthMsg, Instruments, LiveConversation, Site};

/// Reports what looks unhealthy.
#[derive(Debug, Clone, Copy, Default)]
pub struct HealthMonitorActor;

/// What a [`HealthMonitorActor`] starts with.
#[derive(Clone)]
pub struct HealthMonitorArguments {
    /// How long the counters may stand still.
    pub stall: Duration,
    /// What to read, and to report through.
    pub instruments: Instruments,
}

/// What the monitor remembers.
pub struct HealthMonitorState {
    watchdog: Option<Watchdog>,
    /// Time between two looks at the counters.
    period: Duration,
    started: Instant,
    step: u64,
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
        let HealthMonitorArguments { stall, instruments } = arguments;
        let period = stall / 4;
        myself.send_after(period, || HealthMsg::Tick);
        let watchdog = Some(Watchdog::new(stall));
        Ok(HealthMonitorState { watchdog, period, started: Instant::now(), step: 0, instruments })
    }

    async fn handle(
        &self,
        myself: ActorRef<HealthMsg>,
        message: HealthMsg,
        state: &mut HealthMonitorState,
    ) -> Result<(), ActorProcessingErr> {
        state.instruments.visit(Site::HealthMonitor).await?;
        match message {
            HealthMsg::Step(metrics) => state.step = metrics.step,
            HealthMsg::Tick => {
                let (reading, now) = (state.instruments.vitals.read(), state.started.elapsed());
                if let Some(watchdog) = &mut state.watchdog {
                    if let Some(issue) = watchdog.look(reading, now) {
                        let waiting = who_waits(&state.instruments.conversations.snapshot());
                        let stall = format!("nothing has moved for {:.0} s; {waiting}", issue.value);
                        state.instruments.health.stalled(Some(stall));
                        state.report(issue, format!("reported; {waiting}"));
                    }
                    myself.send_after(state.period, || HealthMsg::Tick);
                }
            }
            HealthMsg::Finished => state.watchdog = None,
        }
        Ok(())
    }
}

impl HealthMonitorState {
    fn report(&self, issue: Issue, decision: String) {
        let Issue { rule, value, limit } = issue;
        self.instruments.emit(Event::HealthIssue { rule: rule.into(), step: self.step, value, limit, decision });
    }
}

/// Who waits for whom, in a line; `live` is oldest first.
fn who_waits(live: &[LiveConversation]) -> String {
    let Some(oldest) = live.first() else {
        return "no conversation is live".into();
    };
    let whom = oldest.waits_for.map_or("nobody", Site::name);
    format!(
        "{} conversations are live, the oldest ({}) waits for {whom} in turn {}",
        live.len(),
        oldest.episode,
        oldest.turn
    )
}
