//! The end of the process, when nothing else has helped.
//!
//! The health monitor restarts who is stuck; but it is an actor, and if every worker of the async runtime is blocked it is stuck itself.
//! A blocked thread cannot be killed, and neither can a wedged driver: what remains is to end the process, whose parent starts it again
//! from the last checkpoint. So this is a plain thread that reads counters, and needs nobody.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use stateset_telemetry::Event;

use crate::policy::Watchdog;
use crate::protocol::Instruments;

/// A watch over a run. It ends when this is dropped.
#[must_use = "the watch ends when this is dropped"]
#[derive(Debug)]
pub struct LastResort {
    _alive: mpsc::Sender<()>,
}

impl LastResort {
    /// Watches; once no counter has moved for `limit` it says who waits for whom and calls `end`. That is meant to end the process: if
    /// it returns, it is called again for the next stillness only.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn watch(limit: Duration, instruments: Instruments, end: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (alive, over) = mpsc::channel();
        let run = move || {
            let (mut watchdog, started) = (Watchdog::new(limit), Instant::now());
            while matches!(over.recv_timeout(limit / 8), Err(RecvTimeoutError::Timeout)) {
                if let Some(stall) = watchdog.look(instruments.vitals.read(), started.elapsed()) {
                    let (waits, action) = (instruments.look().lines(), "the process ends".into());
                    instruments.emit(Event::Stalled { still_seconds: stall.value, waits, action });
                    end();
                }
            }
        };
        Builder::new().name("last resort".into()).spawn(run)?;
        Ok(Self { _alive: alive })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stateset_telemetry::Memory;

    use super::*;
    use crate::protocol::Unprobed;

    /// Real time, on a runtime whose only worker is blocked.
    #[tokio::test]
    async fn a_run_that_stands_still_is_ended_though_the_runtime_is_blocked() {
        let events = Arc::new(Memory::default());
        let instruments = Instruments::new(events.clone(), Arc::new(Unprobed));
        let (told, ended) = mpsc::channel();
        let watch = LastResort::watch(Duration::from_millis(40), instruments.clone(), move || told.send(()).unwrap());
        ended.recv_timeout(Duration::from_secs(60)).unwrap();
        drop(watch);
        let [Event::Stalled { waits, action, .. }] = &events.events()[..] else { panic!("{:?}", events.events()) };
        assert_eq!((&waits[..], action.as_str()), (&["no conversation is live".to_owned()][..], "the process ends"));
    }
}
