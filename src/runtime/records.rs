//! Where what happens in a run is written down, and who counts along.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use stateset_telemetry::{Event, EventSink, JsonLines, Tee};

use super::Clock;
use crate::inspect::Recent;
use crate::run_folder::{RunFiles, RunFolder};

/// A run's folder, and what is known of its events.
pub(crate) struct Records {
    folder: RunFolder,
    pub(crate) clock: Clock,
    pub(super) restarts: Arc<Restarts>,
    pub(super) recent: Arc<Recent>,
    pub(crate) events: Arc<dyn EventSink>,
}

/// Counts restarts as they are decided.
#[derive(Debug, Default)]
pub(super) struct Restarts(AtomicU64);

impl Restarts {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl EventSink for Restarts {
    fn emit(&self, event: Event) {
        if matches!(event, Event::RestartScheduled { .. }) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Records {
    /// Goes on where the events in `folder` end, within `log_size` bytes of them. `extra` hears of every event too.
    pub(super) fn of(folder: RunFolder, log_size: u64, extra: Option<Arc<dyn EventSink>>) -> Result<Self> {
        let path = folder.files().events();
        let before = JsonLines::read(&path).ok().and_then(|events| Some(events.last()?.seconds));
        let clock = Clock::going_on(Duration::from_secs_f64(before.unwrap_or(0.0)));
        let time = || {
            let clock = clock.clone();
            move || clock.read()
        };
        let (restarts, recent) = (Arc::new(Restarts::default()), Arc::new(Recent::new(time())));
        let file = JsonLines::append_to(&path, log_size, time())?;
        let mut sinks: Vec<Arc<dyn EventSink>> = vec![Arc::new(file), restarts.clone(), recent.clone()];
        sinks.extend(extra);
        Ok(Self { folder, clock, restarts, recent, events: Arc::new(Tee(sinks)) })
    }

    pub(crate) fn files(&self) -> RunFiles {
        self.folder.files()
    }
}
