//! What is known of a run that is not running.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use stateset_telemetry::{Event, ExitCause, JsonLines, TimedEvent};

use super::client::Form;
use super::text::{latest, section};
use crate::run_folder::RunFiles;

/// Events that are told in JSON.
const TOLD: usize = 40;

#[derive(Serialize)]
struct Past<'a> {
    run: String,
    running: bool,
    /// How far it was, if it said so.
    ended: Option<&'a Event>,
    children: BTreeMap<&'a str, Known<'a>>,
    recent: &'a [TimedEvent],
}

/// A child as last heard of.
#[derive(Serialize, Default)]
struct Known<'a> {
    incarnation: u64,
    /// What was said of it last.
    state: &'static str,
    last_exit: Option<&'a ExitCause>,
}

pub(super) fn tell(files: &RunFiles, form: Form) -> Result<String> {
    let path = files.events();
    let events = if path.exists() { JsonLines::read(&path)? } else { Vec::new() };
    let ended = events.iter().rev().map(|timed| &timed.event).find(|event| matches!(event, Event::RunFinished { .. }));
    let recent = &events[events.len().saturating_sub(TOLD)..];
    let run = files.folder().display().to_string();
    let past = Past { run, running: false, ended, children: children(&events), recent };
    Ok(match form {
        Form::Json => serde_json::to_string_pretty(&past)? + "\n",
        Form::Text => render(&past),
    })
}

fn children(events: &[TimedEvent]) -> BTreeMap<&str, Known<'_>> {
    let mut known: BTreeMap<&str, Known<'_>> = BTreeMap::new();
    for timed in events {
        match &timed.event {
            Event::ChildStarted { child, incarnation, .. } => {
                let it = known.entry(child).or_default();
                (it.incarnation, it.state) = (*incarnation, "up");
            }
            Event::ChildExited { child, incarnation, cause, .. } => {
                // Of children that come and go only the failures are told, and they are no part of the tree.
                if let Some(it) = known.get_mut(child.as_str()) {
                    (it.incarnation, it.state, it.last_exit) = (*incarnation, "down", Some(cause));
                }
            }
            Event::ChildStopped { child, .. } => {
                if let Some(it) = known.get_mut(child.as_str()) {
                    it.state = "stopped";
                }
            }
            _ => {}
        }
    }
    known
}

fn render(past: &Past<'_>) -> String {
    let said = match past.ended {
        Some(Event::RunFinished { step, reason }) => format!("{reason} after step {step}"),
        _ => "it never said that it ended".into(),
    };
    let mut lines = vec![format!("{}  not running; {said}", past.run)];
    let child = |(name, known): (&&str, &Known<'_>)| {
        let last = known.last_exit.map(|exit| format!(", last exit {exit:?}")).unwrap_or_default();
        format!("{name:<16} {}, incarnation {}{last}", known.state, known.incarnation)
    };
    section("as last heard of", past.children.iter().map(child), &mut lines);
    section("latest events", latest(past.recent), &mut lines);
    lines.join("\n") + "\n"
}
