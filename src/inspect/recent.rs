//! The latest events of a run, kept in memory.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stateset_telemetry::{Event, EventSink, TimedEvent};

/// Events that are remembered.
const KEPT: usize = 40;

/// Remembers what happened last, except what happens in every step.
pub(crate) struct Recent {
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
    events: Mutex<VecDeque<TimedEvent>>,
}

impl Recent {
    /// `clock` says how long the run has been going on.
    pub(crate) fn new(clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { clock: Box::new(clock), events: Mutex::default() }
    }

    /// What is remembered, oldest first.
    pub(crate) fn events(&self) -> Vec<TimedEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl EventSink for Recent {
    fn emit(&self, event: Event) {
        if matches!(event, Event::WeightsLoaded { .. }) {
            return;
        }
        let timed = TimedEvent { seconds: (self.clock)().as_secs_f64(), event };
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == KEPT {
            events.pop_front();
        }
        events.push_back(timed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_routine_is_not() {
        let recent = Recent::new(|| Duration::from_secs(9));
        for step in 0..100 {
            recent.emit(Event::StepSkipped { step });
        }
        let events = recent.events();
        assert_eq!((events.len(), events[KEPT - 1].seconds), (KEPT, 9.0));
        assert_eq!(events[0].event, Event::StepSkipped { step: 60 });
    }
}
