//! How the run was doing, and what its health rules decided.

use stateset_actors::policy::{HealthLevel, HealthStatus};
use stateset_telemetry::{Event, TimedEvent};

use super::html::{count, escape};

/// More rows than this would bury the page; the rest is in `events.jsonl`.
const MOST: usize = 200;

pub(super) fn section(status: &HealthStatus, events: &[TimedEvent]) -> String {
    let rulings: Vec<_> = events
        .iter()
        .filter_map(|timed| match &timed.event {
            Event::Ruled(ruling) => Some(ruling),
            _ => None,
        })
        .collect();
    let level = match status.status {
        HealthLevel::Healthy => "healthy",
        HealthLevel::Warning => "worth a look",
        HealthLevel::Critical => "critical",
    };
    let rows: String = rulings
        .iter()
        .take(MOST)
        .map(|ruling| {
            let class = if ruling.acts() { "repair" } else { "notice" };
            let (what, why) = (escape(&ruling.to_string()), escape(&ruling.grounds()));
            format!("<tr class=\"{class}\"><td>{}</td><td>{what}</td><td>{why}</td></tr>", count(ruling.step))
        })
        .collect();
    let body = if rows.is_empty() {
        "<p class=\"note\">No rule had anything to say.</p>".to_owned()
    } else {
        format!(
            "<div class=\"wide\"><table><thead><tr><th>Step</th><th>Decision</th><th>Because</th></tr></thead><tbody>{rows}</tbody></table></div>"
        )
    };
    let open: Vec<String> =
        status.issues.iter().map(|issue| format!("{} since step {}", issue.rule, issue.since_step)).collect();
    let open = if open.is_empty() { String::new() } else { format!(": {}", escape(&open.join(", "))) };
    let advice: String = status
        .recommended_actions
        .iter()
        .map(|advice| format!("<p class=\"note\">Recommended: {}</p>", escape(advice)))
        .collect();
    format!("<section><h2>Health</h2><p>At the end, {level}{open}.</p>{body}{advice}</section>")
}
