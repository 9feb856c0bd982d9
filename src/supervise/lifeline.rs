//! What ties a worker to its parent: a pipe into its standard input.
//!
//! A line that comes through it asks the worker to end, or to read its file again. When nothing can come any more the parent is gone, however it ended, since the
//! system closes its end of the pipe; and a worker that nobody watches must not go on unwatched, beside the next one. It takes a pipe and a
//! thread that reads, and so works on every system and while every actor is stuck.

use std::io::{BufRead, Write};
use std::process::{ChildStdin, Command, Stdio, abort, exit, id};
use std::thread::Builder;

use tokio::sync::mpsc;

/// What a worker says that lost its parent. Nobody hears it.
const ORPHANED: i32 = 1;

const END: &str = "end";
const RELOAD: &str = "reload";

/// Asks the worker to end.
pub(super) fn ask_to_end(line: &mut ChildStdin) {
    ask(line, END);
}

/// Asks the worker to read its file again.
pub(super) fn ask_to_reload(line: &mut ChildStdin) {
    ask(line, RELOAD);
}

fn ask(line: &mut ChildStdin, what: &str) {
    // One that has just ended needs no asking.
    let _ = writeln!(line, "{what}").and_then(|()| line.flush());
}

/// What a worker is asked for.
#[derive(Default)]
pub(crate) struct Requests {
    /// To end. Without a parent, nobody asks.
    pub(crate) ends: Option<mpsc::UnboundedReceiver<()>>,
    /// To read its file again.
    pub(crate) reloads: Option<mpsc::UnboundedReceiver<()>>,
}

/// Waits for the next request; for ever, if none can come.
pub(crate) async fn next(requests: &mut Option<mpsc::UnboundedReceiver<()>>) {
    let asked = match requests {
        Some(requests) => requests.recv().await,
        None => None,
    };
    if asked.is_none() {
        std::future::pending().await
    }
}

/// Holds on to the parent's end of the line: tells of each request, and ends this process when the parent is gone.
///
/// # Errors
/// If there is no thread to be had.
pub(crate) fn hold() -> std::io::Result<Requests> {
    let ((end, ends), (reload, reloads)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let hold = move || {
        for asked in std::io::stdin().lock().lines().map_while(Result::ok) {
            // A run that is over is not interested.
            let _ = if asked == RELOAD { reload.send(()) } else { end.send(()) };
        }
        exit(ORPHANED);
    };
    Builder::new().name("lifeline".into()).spawn(hold)?;
    Ok(Requests { ends: Some(ends), reloads: Some(reloads) })
}

/// Ends this process as `kill -9` does, because that is what it is.
pub(crate) fn kill_myself() {
    let mut kill = Command::new("kill");
    let killed = kill.args(["-KILL", &id().to_string()]).stdin(Stdio::null()).status();
    if !killed.is_ok_and(|status| status.success()) {
        // No such program: an abort unwinds and flushes as little.
        abort();
    }
}
