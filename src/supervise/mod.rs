//! A parent that starts its worker again.
//!
//! Actors heal what fails within a process. What ends the process itself (an abort, a kill, a machine out of memory, a thread that
//! blocks for ever) is healed by another one: the parent runs the worker as a child, waits, and decides by the [policy] of supervisors
//! what its end means. The parent holds no state of the run and computes nothing, so there is nothing in it to fail; the worker goes
//! on from the run's folder. What ties the worker to it is a [lifeline].

pub(crate) mod lifeline;
pub(crate) mod policy;

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use stateset_domain::Stream;
use stateset_supervisors::{Backoff, Intensity};
use stateset_telemetry::{Event, EventSink, ExitCause, JsonLines};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::run_folder::{RunFiles, RunFolder};
use policy::{Decision, Ended, INTERRUPTED, Watch};

/// A worker to be kept running.
pub(crate) struct Worker {
    /// The first start.
    first: Command,
    /// Every later one, which goes on with the run.
    again: Command,
    /// The folder that holds the runs' folders.
    parent: PathBuf,
    /// The name of the run.
    name: String,
    /// An earlier run of that name, which is none of the worker's.
    earlier: Option<RunFiles>,
    intensity: Intensity,
    backoff: Backoff,
    random: Stream,
}

impl Worker {
    /// The worker of the run `config`, with its limits: a process is restarted as often as an actor.
    ///
    /// `first` begins it, or goes on with it if `resumed`; `again` goes on with it.
    pub(crate) fn new(config: &Config, first: Command, again: Command, resumed: bool) -> Self {
        let (parent, name) = (config.run.output_dir.clone(), config.run.name.clone());
        let earlier = if resumed { None } else { RunFolder::find(&parent, &name) };
        let (restarts, backoff) = (&config.supervision.restarts, &config.supervision.backoff);
        Self {
            first,
            again,
            parent,
            name,
            earlier,
            intensity: Intensity { max_restarts: restarts.max, within: restarts.within },
            backoff: Backoff { first: backoff.min, cap: backoff.max, reset_after: restarts.within },
            random: Stream::new(config.run.seed).fork(u64::from_le_bytes(*b"worker\0\0")),
        }
    }

    /// Runs it until it has nothing more to say, and returns its exit code.
    ///
    /// # Errors
    /// If it cannot be started, or ended too often.
    pub(crate) fn keep_running(self) -> Result<u8> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(self.watch())
    }

    async fn watch(mut self) -> Result<u8> {
        let (mut interrupts, mut ends) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut hangups = signal(SignalKind::hangup())?;
        let mut watch = Watch::new(self.intensity, self.backoff, self.random);
        let born = Instant::now();
        loop {
            let started = Instant::now();
            // One that died before it had made its folder begins once more, instead of going on with somebody else's.
            let begun = self.files().is_some();
            let command = if begun { &mut self.again } else { &mut self.first };
            // A group of its own: Ctrl-C reaches the parent alone, which passes it on once.
            let command = command.process_group(0).stdin(Stdio::piped());
            let mut child = command.spawn().context("cannot start the worker")?;
            let mut line = child.stdin.take().context("the worker has no lifeline")?;
            eprintln!("supervise: process {} is at work", child.id());
            let mut waiting = tokio::task::spawn_blocking(move || child.wait());
            let status = loop {
                tokio::select! {
                    status = &mut waiting => break status?.context("cannot wait for the worker")?,
                    _ = interrupts.recv() => {}
                    _ = ends.recv() => {}
                    _ = hangups.recv() => {
                        lifeline::ask_to_reload(&mut line);
                        continue;
                    }
                }
                watch.end();
                lifeline::ask_to_end(&mut line);
            };
            let ended = ended(status);
            match watch.on_exit(ended, started.elapsed(), born.elapsed()) {
                Decision::End(code) => return Ok(code),
                Decision::GiveUp { recent } => {
                    let cause = ExitCause::Error(ended.to_string());
                    let (supervisor, child) = ("supervise".into(), "worker".into());
                    self.record(Event::Escalated { supervisor, child, restarts_in_window: recent, cause });
                    let Intensity { max_restarts, within } = watch.intensity();
                    bail!(
                        "the worker {ended}, which is once too often: {max_restarts} restarts within {within:?} are put up with"
                    );
                }
                Decision::Restart { attempt, recent, delay } => {
                    let (exit, delay_seconds) = (ended.to_string(), delay.as_secs_f64());
                    self.record(Event::WorkerRestarted { exit, attempt, delay_seconds });
                    let Intensity { max_restarts, within } = watch.intensity();
                    eprintln!(
                        "supervise: the worker {ended}; it goes on in {delay_seconds:.1} s ({recent} of {max_restarts} restarts within {within:?})"
                    );
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        _ = interrupts.recv() => return Ok(INTERRUPTED),
                        _ = ends.recv() => return Ok(INTERRUPTED),
                    }
                }
            }
        }
    }

    /// Where the run is, once the worker has come so far.
    fn files(&self) -> Option<RunFiles> {
        RunFolder::find(&self.parent, &self.name).filter(|found| Some(found) != self.earlier.as_ref())
    }

    /// Writes it beside the worker's own events, which has ended and writes no more.
    fn record(&self, event: Event) {
        let Some(files) = self.files() else { return };
        let path = files.events();
        let last = JsonLines::read(&path).ok().and_then(|events| Some(events.last()?.seconds)).unwrap_or(0.0);
        // What cannot be recorded has been said on the console. The worker keeps the file within its limit.
        if let Ok(sink) = JsonLines::append_to(&path, u64::MAX, move || Duration::from_secs_f64(last)) {
            sink.emit(event);
        }
    }
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Code(code),
        (None, signal) => Ended::Signal(signal.unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_folder::write_whole;

    #[test]
    fn an_earlier_run_of_the_same_name_is_not_taken_for_the_workers_own() {
        let parent = tempfile::tempdir().unwrap();
        let begun = || {
            let folder = RunFolder::create(parent.path(), "night").unwrap();
            write_whole(&folder.files().config(), "").unwrap();
            folder.files()
        };
        let earlier = begun();
        let mut config = Config::default();
        (config.run.name, config.run.output_dir) = ("night".into(), parent.path().into());
        let worker = |resumed| Worker::new(&config, Command::new("true"), Command::new("true"), resumed);
        assert_eq!(worker(true).files(), Some(earlier));
        let worker = worker(false);
        assert_eq!(worker.files(), None);
        let own = begun();
        assert_eq!(worker.files(), Some(own));
    }
}
