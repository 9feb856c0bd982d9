//! A picture as text, for a terminal.

use stateset_supervisors::{DeadReason, Node, State};
use stateset_telemetry::{ExitCause, TimedEvent};

use super::picture::{Picture, Thread, Wait};

/// Children of a supervisor that come and go are counted, beyond the first few.
const SHOWN: usize = 4;
/// Events that are shown.
const EVENTS: usize = 10;

pub(super) fn render(picture: &Picture) -> String {
    let Picture { run, process, seconds, progress, .. } = picture;
    let mut lines = vec![
        format!("{}  running, process {process}, for {}", run.display(), span(*seconds)),
        format!(
            "  {} steps, {} episodes, {} tokens in this process",
            progress.steps, progress.episodes, progress.tokens
        ),
        String::new(),
    ];
    tree(&picture.tree, "", "", &mut lines);
    section("threads", picture.threads.iter().map(thread), &mut lines);
    let live = format!("{} conversations are live", picture.live_conversations);
    let waits = picture.waiting.iter().map(wait);
    section("who waits for whom", std::iter::once(live).chain(waits), &mut lines);
    let breakers = picture.dependencies.iter().map(|it| {
        let (state, name) = (it.state.name(), &it.dependency);
        let (failed, flight) = (100.0 * it.failure_rate, it.in_flight);
        format!(
            "{name:<16} {state}, {failed:.0} % of {} calls failed, {flight} in flight, {} waiting",
            it.calls, it.waiting
        )
    });
    section("breakers", breakers, &mut lines);
    let dead = picture.dead_letters.counts.iter().map(|it| {
        let how = match it.reason {
            DeadReason::Down => "came back",
            DeadReason::Abandoned => "abandoned",
            DeadReason::Lost => "lost with a mailbox",
        };
        format!("{:<16} {} × {} {how}", it.recipient, it.count, it.message)
    });
    section("dead letters", dead, &mut lines);
    section("latest events", latest(&picture.recent), &mut lines);
    lines.join("\n") + "\n"
}

/// The latest events, one a line.
pub(super) fn latest(events: &[TimedEvent]) -> impl Iterator<Item = String> {
    let from = events.len().saturating_sub(EVENTS);
    events[from..].iter().map(|timed| format!("{:>9}  {}", span(timed.seconds), brief(timed)))
}

pub(super) fn section(title: &str, rows: impl Iterator<Item = String>, lines: &mut Vec<String>) {
    let rows: Vec<String> = rows.map(|row| format!("  {row}")).collect();
    if !rows.is_empty() {
        lines.extend([String::new(), title.to_owned()]);
        lines.extend(rows);
    }
}

fn tree(node: &Node, first: &str, rest: &str, lines: &mut Vec<String>) {
    lines.push(format!("{first}{}", line(node, first.chars().count())));
    let passing = node.children.iter().filter(|child| child.dynamic).count();
    let hidden = passing.saturating_sub(SHOWN);
    let shown: Vec<&Node> = {
        let mut dynamic = 0;
        let show = |child: &&Node| {
            dynamic += usize::from(child.dynamic);
            !child.dynamic || dynamic <= SHOWN
        };
        node.children.iter().filter(show).collect()
    };
    for (at, child) in shown.iter().enumerate() {
        let last = at + 1 == shown.len() && hidden == 0;
        let (branch, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        tree(child, &format!("{rest}{branch}"), &format!("{rest}{below}"), lines);
    }
    if hidden > 0 {
        lines.push(format!("{rest}└─ and {hidden} more that come and go"));
    }
}

fn line(node: &Node, indent: usize) -> String {
    let width = 34_usize.saturating_sub(indent);
    let mut text = format!("{:<width$} {:<11} for {:<9}", node.name, state(node), span(node.for_seconds));
    if let Some(strategy) = node.strategy {
        text += &format!(" {strategy}");
    }
    if node.mailbox > 0 {
        text += &format!("  {} in the mailbox", node.mailbox);
    }
    if node.restarts > 0 {
        text += &format!("  {} restarts", node.restarts);
    }
    if let Some(exit) = node.last_exit.as_ref().filter(|exit| exit.is_abnormal()) {
        text += &format!("  last {}", cause(exit));
    }
    if let Some(aside) = &node.aside {
        text += &format!("  because {aside}");
    }
    text
}

fn state(node: &Node) -> String {
    let left = node.left_seconds.map(|left| format!(" {}", span(left))).unwrap_or_default();
    let state = match node.state {
        State::Down => "down",
        State::Starting => "starting",
        State::Up => "up",
        State::Stopping => "stopping",
        State::Waiting => "waiting",
        State::Quarantined => "quarantined",
        State::Degraded => "degraded",
        State::Zombie => "zombie",
    };
    format!("{state}{left}")
}

fn cause(exit: &ExitCause) -> String {
    match exit {
        ExitCause::Normal => "ended".into(),
        ExitCause::Error(why) => format!("failed: {why}"),
        ExitCause::Panic(why) => format!("panicked: {why}"),
        ExitCause::Killed => "was killed".into(),
        ExitCause::StartFailed(why) => format!("could not be started: {why}"),
    }
}

fn thread(thread: &Thread) -> String {
    let busy = thread.busy_seconds.map_or_else(|| "idle".into(), |busy| format!("busy for {}", span(busy)));
    let zombies = if thread.zombies > 0 { format!(", {} zombies left behind", thread.zombies) } else { String::new() };
    format!("{:<16} thread {}, {busy}{zombies}", thread.of.name(), thread.epoch)
}

fn wait(wait: &Wait) -> String {
    let Wait { site, conversations, longest_episode, longest_turn, longest_seconds } = wait;
    let longest = span(*longest_seconds);
    format!(
        "{conversations} conversations wait for {site}, the longest {longest} ({longest_episode}, turn {longest_turn})"
    )
}

/// An event in a line: its name, and its fields as they are in `events.jsonl`.
fn brief(timed: &TimedEvent) -> String {
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::to_value(&timed.event) else { return String::new() };
    let name = fields.remove("event").and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
    let field = |(key, value): (&String, &serde_json::Value)| match value {
        serde_json::Value::String(text) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    };
    let fields: Vec<String> = fields.iter().filter(|(_, value)| !value.is_null()).map(field).collect();
    let text: String = format!("{name} {}", fields.join(" ")).chars().take(160).collect();
    text.trim_end().to_owned()
}

fn span(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 60.0 => format!("{seconds:.1} s"),
        seconds if seconds < 3600.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}
