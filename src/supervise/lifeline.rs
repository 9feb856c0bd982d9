//! What ties a worker to its parent: a pipe into its standard input.
//!
//! A line that comes through it asks the worker to end. When nothing can come any more the parent is gone, however it ended, since the
//! system closes its end of the pipe; and a worker that nobody watches must not go on unwatched, beside the next one. It takes a pipe and a
//! thread that reads, and so works on every system and while every actor is stuck.

use std::io::{BufRead, Write};
use std::process::{ChildStdin, Command, Stdio, abort, exit, id};
use std::thread::Builder;

use tokio::sync::mpsc;

/// What a worker says that lost its parent. Nobody hears it.
const ORPHANED: i32 = 1;

/// Asks the worker to end. One that has just ended needs no asking.
pub(super) fn ask_to_end(line: &mut ChildStdin) {
    let _ = line.write_all(b"end\n").and_then(|()| line.flush());
}

/// Holds on to the parent's end of the line: tells of each request to end, and ends this process when the parent is gone.
///
/// # Errors
/// If there is no thread to be had.
pub(crate) fn hold() -> std::io::Result<mpsc::UnboundedReceiver<()>> {
    let (asked, requests) = mpsc::unbounded_channel();
    let hold = move || {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            // A run that is over is not interested.
            let _ = asked.send(());
        }
        exit(ORPHANED);
    };
    Builder::new().name("lifeline".into()).spawn(hold)?;
    Ok(requests)
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
