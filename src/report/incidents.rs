//! What failed on the way, why, and what was done about it.

use stateset_domain::BreakerState;
use stateset_telemetry::{ConfigChange, Event, ExitCause, StopMeans, TimedEvent};

use super::html::{count, escape, time};

/// More rows than this would bury the page; the rest is in `events.jsonl`.
const MOST: usize = 300;

/// One row of the log.
struct Row {
    kind: Kind,
    who: String,
    what: String,
    cause: String,
}

#[derive(Clone, Copy)]
enum Kind {
    Failure,
    Repair,
    Notice,
}

pub(super) fn section(events: &[TimedEvent]) -> String {
    let rows: Vec<(f64, Row)> = events.iter().filter_map(|timed| Some((timed.seconds, row(&timed.event)?))).collect();
    let routine = count((events.len() - rows.len()) as u64);
    let body = if rows.is_empty() {
        "<p class=\"note\">Nothing failed.</p>".to_owned()
    } else {
        let shown: String = rows.iter().take(MOST).map(|(seconds, row)| render(*seconds, row)).collect();
        format!(
            "<div class=\"wide\"><table><thead><tr><th>After</th><th>Who</th><th>What</th><th>Cause</th></tr></thead><tbody>{shown}</tbody></table></div>"
        )
    };
    let hidden = rows.len().saturating_sub(MOST);
    let more = if hidden > 0 { format!("{} more rows and ", count(hidden as u64)) } else { String::new() };
    format!(
        "<section><h2>Supervision log</h2>{body}\
         <p class=\"note\">Left out: {more}what happens in every healthy run ({routine}). All of it is in <code>events.jsonl</code>.</p></section>"
    )
}

fn render(seconds: f64, row: &Row) -> String {
    let class = match row.kind {
        Kind::Failure => "failure",
        Kind::Repair => "repair",
        Kind::Notice => "notice",
    };
    let Row { who, what, cause, .. } = row;
    format!(
        "<tr class=\"{class}\"><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        time(seconds),
        escape(who),
        escape(what),
        escape(cause)
    )
}

/// The event in words, unless it belongs to every healthy run.
fn row(event: &Event) -> Option<Row> {
    let row = |kind, who: &str, what: String, cause: String| Some(Row { kind, who: who.to_owned(), what, cause });
    match event {
        Event::RunStarted { from_step: 0, .. } | Event::WeightsLoaded { .. } | Event::CheckpointSaved { .. } => None,
        Event::RunStarted { from_step, .. } => {
            row(Kind::Repair, "run", format!("went on from step {from_step}"), String::new())
        }
        Event::RunFinished { step, reason } => {
            row(Kind::Notice, "run", format!("ended after step {step}"), reason.clone())
        }
        Event::ChildStarted { incarnation: 0 | 1, .. } => None,
        Event::ChildStarted { child, incarnation, .. } => {
            row(Kind::Repair, child, format!("running again, incarnation {incarnation}"), String::new())
        }
        Event::ChildExited { cause: ExitCause::Normal, .. } => None,
        Event::ChildExited { child, cause, .. } => row(Kind::Failure, child, exit(cause).to_owned(), why(cause)),
        Event::RestartScheduled { supervisor, restarting, delay_seconds, restarts_in_window, .. } => {
            let what = format!("restarts {} in {}", restarting.join(", "), time(*delay_seconds));
            row(Kind::Repair, supervisor, what, format!("restart {restarts_in_window} within the window"))
        }
        Event::Escalated { supervisor, child, restarts_in_window, cause } => {
            let what = format!("gave up on {child} after {restarts_in_window} restarts");
            row(Kind::Failure, supervisor, what, why(cause))
        }
        Event::ChildSetAside { supervisor, restarts_in_window, quarantine_seconds, chain, cause, .. } => {
            let until = quarantine_seconds.map_or_else(|| "for good".to_owned(), |wait| format!("for {}", time(wait)));
            let what = format!("left {} down {until} after {restarts_in_window} restarts", chain.join(" › "));
            row(Kind::Failure, supervisor, what, why(cause))
        }
        Event::SupervisorFinished { .. } => None,
        Event::ThreadFenced { thread, epoch } => {
            row(Kind::Failure, thread, format!("left thread {epoch} behind"), "it does not end".into())
        }
        Event::Stalled { still_seconds, waits, action } => row(
            Kind::Failure,
            "watchdog",
            action.clone(),
            format!("nothing moved for {}: {}", time(*still_seconds), waits.join("; ")),
        ),
        Event::ChildStopped { means: StopMeans::Drained | StopMeans::Stopped, .. } => None,
        Event::ChildStopped { child, means: StopMeans::Killed, .. } => {
            row(Kind::Notice, child, "was killed to end the run".into(), String::new())
        }
        Event::ChildStopped { child, means: StopMeans::Zombie, .. } => {
            row(Kind::Failure, child, "could not be ended".into(), String::new())
        }
        Event::EpisodeRetried { episode, attempt, failure } => row(
            Kind::Repair,
            &episode.to_string(),
            format!("attempt {attempt} failed; tried again"),
            failure.to_string(),
        ),
        Event::EpisodeFailed { episode, attempts, failure } => row(
            Kind::Failure,
            &episode.to_string(),
            format!("given up on after {attempts} attempts"),
            failure.to_string(),
        ),
        Event::CheckpointFailed { step, cause } => {
            row(Kind::Failure, "checkpointer", format!("step {step} was not saved"), cause.clone())
        }
        Event::Restored { step, cause } => {
            row(Kind::Repair, "learner", format!("went back to step {step}"), cause.clone())
        }
        Event::StepSkipped { step } => row(
            Kind::Notice,
            "learner",
            format!("skipped step {step}"),
            "loss or gradient not finite, or a rule took it back".into(),
        ),
        Event::JournalRead { torn_bytes: 0, .. } => None,
        Event::JournalRead { torn_bytes, .. } => row(
            Kind::Notice,
            "journal",
            format!("{torn_bytes} bytes of a half-written entry were cut off"),
            String::new(),
        ),
        Event::EpisodesReplayed { step, episodes } => row(
            Kind::Repair,
            "learner",
            format!("took {episodes} episodes of step {step} from the journal"),
            "accepted before".into(),
        ),
        Event::JournalFailed { step, cause } => {
            row(Kind::Failure, "journal", format!("accepted episodes are not on disk from step {step}"), cause.clone())
        }
        Event::ReplayDiverged { step, recorded, found } => row(
            Kind::Notice,
            "learner",
            format!("step {step} led to other weights than before; later steps are rolled out anew"),
            format!("{recorded} on record, {found} now"),
        ),
        Event::BreakerChanged { dependency, to: BreakerState::Open, open_seconds, reason, .. } => {
            row(Kind::Failure, dependency, format!("is left alone for {}", time(*open_seconds)), reason.clone())
        }
        Event::BreakerChanged { dependency, to: BreakerState::HalfOpen, .. } => {
            row(Kind::Notice, dependency, "is tried again".into(), String::new())
        }
        Event::BreakerChanged { dependency, to: BreakerState::Closed, reason, .. } => {
            row(Kind::Repair, dependency, "is called again".into(), reason.clone())
        }
        Event::BreakerChanged {
            dependency,
            to: to @ (BreakerState::ForcedOpen | BreakerState::ForcedClosed),
            reason,
            ..
        } => row(Kind::Notice, dependency, format!("its breaker is {to}"), reason.clone()),
        Event::ConfigReloaded { changed } => {
            let change = |it: &ConfigChange| format!("{}: {} -> {}, {}", it.key, it.from, it.to, it.how);
            row(
                Kind::Notice,
                "run",
                "goes on with another configuration".into(),
                changed.iter().map(change).collect::<Vec<_>>().join("; "),
            )
        }
        Event::ReloadRefused { reason } => {
            row(Kind::Notice, "run", "goes on as configured; another configuration was refused".into(), reason.clone())
        }
        Event::FaultInjected { id, kind, site, step, detail } => {
            row(Kind::Notice, site, format!("fault {id} injected after step {step}: {kind}"), detail.clone())
        }
        Event::WorkerRestarted { exit, attempt, delay_seconds } => {
            let what = format!("the process was started again after {}, restart {attempt}", time(*delay_seconds));
            row(Kind::Repair, "worker", what, exit.clone())
        }
        // They have a section of their own.
        Event::Ruled(_) => None,
    }
}

fn exit(cause: &ExitCause) -> &'static str {
    match cause {
        ExitCause::Normal => "ended",
        ExitCause::Error(_) => "failed",
        ExitCause::Panic(_) => "panicked",
        ExitCause::Killed => "was killed",
        ExitCause::StartFailed(_) => "could not be started",
    }
}

fn why(cause: &ExitCause) -> String {
    match cause {
        ExitCause::Normal | ExitCause::Killed => String::new(),
        ExitCause::Error(cause) | ExitCause::Panic(cause) | ExitCause::StartFailed(cause) => cause.clone(),
    }
}
