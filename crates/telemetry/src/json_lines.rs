//! Events as JSON lines.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::log_file::{LogFile, older_half, read_whole};
use crate::{Event, EventSink, LogError};

/// One line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimedEvent {
    /// Seconds since the process began its run.
    pub seconds: f64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Appends every event to a file, one write a line, so that a crash costs at most the line it fell into.
///
/// A write that fails is counted, not retried: an event must never be the reason why a supervisor fails.
pub struct JsonLines {
    file: Mutex<LogFile>,
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
    lost: AtomicU64,
}

impl JsonLines {
    /// Appends to `path`, and lets the oldest lines go when there are more than `limit` bytes. `clock` says how long the run has been
    /// going on.
    ///
    /// # Errors
    /// [`LogError::Io`] if the file cannot be opened.
    pub fn append_to(
        path: &Path,
        limit: u64,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Result<Self, LogError> {
        Ok(Self { file: Mutex::new(LogFile::open(path, limit)?), clock: Box::new(clock), lost: AtomicU64::new(0) })
    }

    /// How many events could not be written.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Every event that is still there, in order.
    ///
    /// # Errors
    /// [`LogError`] if the file cannot be read, or a whole line is not an event.
    pub fn read(path: &Path) -> Result<Vec<TimedEvent>, LogError> {
        parse(path)
    }
}

impl EventSink for JsonLines {
    fn emit(&self, event: Event) {
        // The clock is read once it is this event's turn, so that times are in the order of lines.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let timed = TimedEvent { seconds: (self.clock)().as_secs_f64(), event };
        let written = serde_json::to_string(&timed).map(|line| file.append(line));
        if !matches!(written, Ok(Ok(()))) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn sync(&self) {
        // A file that cannot be flushed is as it would have been without the attempt.
        let _ = self.file.lock().unwrap_or_else(PoisonError::into_inner).sync();
    }
}

/// The records of a log of JSON lines, a torn last line left out.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Vec<T>, LogError> {
    let mut records = Vec::new();
    for half in [older_half(path), path.to_owned()] {
        for (at, line) in read_whole(&half)?.lines().enumerate() {
            let record = serde_json::from_str(line);
            records.push(record.map_err(|source| LogError::Damaged { path: half.clone(), line: at + 1, source })?);
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use stateset_domain::{EpisodeId, FailureKind, GroupId, Purpose};

    use super::*;
    use crate::{ExitCause, StopMeans};

    fn samples() -> Vec<Event> {
        let name = || "learner".to_owned();
        let group = GroupId { purpose: Purpose::Train, step: 3, index: 1 };
        let episode = EpisodeId { group, member: 2 };
        vec![
            Event::RunFinished { step: 4, reason: "completed".into() },
            Event::ChildExited {
                supervisor: name(),
                child: name(),
                incarnation: 2,
                cause: ExitCause::Panic("index 3 out of bounds\nnote: …".into()),
            },
            Event::ChildExited { supervisor: name(), child: name(), incarnation: 3, cause: ExitCause::Killed },
            Event::ChildStopped { supervisor: name(), child: name(), means: StopMeans::Drained },
            Event::EpisodeRetried { episode, attempt: 1, failure: FailureKind::ContextFull { tokens: 9, limit: 8 } },
            Event::EpisodeFailed { episode, attempts: 3, failure: FailureKind::Abandoned },
        ]
    }

    #[test]
    fn events_come_back_as_they_went_with_the_time_they_happened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let ticks = AtomicU64::new(0);
        let clock = move || Duration::from_millis(250 * ticks.fetch_add(1, Ordering::Relaxed));
        let sink = JsonLines::append_to(&path, u64::MAX, clock).unwrap();
        samples().into_iter().for_each(|event| sink.emit(event));

        let read = JsonLines::read(&path).unwrap();
        assert_eq!(read.iter().map(|line| line.event.clone()).collect::<Vec<_>>(), samples());
        assert_eq!((read[0].seconds, read[3].seconds), (0.0, 0.75));
        assert!(fs::read_to_string(&path).unwrap().starts_with(r#"{"seconds":0.0,"event":"run_finished","step":4"#));
    }

    #[test]
    fn a_line_torn_by_a_crash_is_dropped_and_the_next_one_stands_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        fs::write(&path, "{\"seconds\":1.0,\"event\":\"step_skipped\",\"step\":7}\n{\"seconds\":2.0,\"ev").unwrap();
        JsonLines::append_to(&path, u64::MAX, || Duration::from_secs(9)).unwrap().emit(Event::StepSkipped { step: 8 });
        let steps: Vec<Event> = JsonLines::read(&path).unwrap().into_iter().map(|line| line.event).collect();
        assert_eq!(steps, [Event::StepSkipped { step: 7 }, Event::StepSkipped { step: 8 }]);
    }

    #[test]
    fn a_write_that_fails_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let file = LogFile::read_only(&path);
        let sink = JsonLines { file: Mutex::new(file), clock: Box::new(Duration::default), lost: 0.into() };
        sink.emit(Event::StepSkipped { step: 1 });
        assert_eq!((sink.lost(), JsonLines::read(&path).unwrap()), (1, vec![]));
    }

    #[test]
    fn a_log_that_is_full_lets_its_oldest_lines_go_and_never_exceeds_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let limit = 1_000;
        let sink = JsonLines::append_to(&path, limit, Duration::default).unwrap();
        for step in 0..200 {
            sink.emit(Event::StepSkipped { step });
            let taken: u64 = fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().metadata().unwrap().len()).sum();
            assert!(taken <= limit, "{taken} bytes");
        }
        let left: Vec<Event> = JsonLines::read(&path).unwrap().into_iter().map(|line| line.event).collect();
        assert!(left.len() >= 10, "{left:?}");
        assert_eq!(left, (200 - left.len() as u64..200).map(|step| Event::StepSkipped { step }).collect::<Vec<_>>());
    }

    #[test]
    fn a_damaged_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        fs::write(&path, "{\"seconds\":1.0,\"event\":\"step_skipped\",\"step\":7}\nnonsense\n").unwrap();
        let error = JsonLines::read(&path).unwrap_err().to_string();
        assert!(error.contains("events.jsonl:2 is damaged"), "{error}");
    }
}
