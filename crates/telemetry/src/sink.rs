//! Where events go.

use std::sync::{Arc, Mutex, PoisonError};

use crate::Event;

/// Takes events. Must not block for long: supervisors and actors call it while handling messages.
pub trait EventSink: Send + Sync {
    /// Takes one event. A sink that cannot keep it counts the loss itself; the caller has nothing better to do about it.
    fn emit(&self, event: Event);

    /// Does not return before what was emitted would survive the machine. Sinks that keep nothing have nothing to do.
    fn sync(&self) {}
}

/// Drops every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nowhere;

impl EventSink for Nowhere {
    fn emit(&self, _event: Event) {}
}

/// Keeps every event in memory, for tests and for embedding.
#[derive(Debug, Default)]
pub struct Memory {
    events: Mutex<Vec<Event>>,
}

impl Memory {
    /// Everything emitted so far, in order.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl EventSink for Memory {
    fn emit(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

/// Gives every event to each of several sinks, in order.
pub struct Tee(pub Vec<Arc<dyn EventSink>>);

impl EventSink for Tee {
    fn emit(&self, event: Event) {
        self.0.iter().for_each(|sink| sink.emit(event.clone()));
    }

    fn sync(&self) {
        self.0.iter().for_each(|sink| sink.sync());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sink_of_a_tee_gets_every_event() {
        let (left, right) = (Arc::new(Memory::default()), Arc::new(Memory::default()));
        let tee = Tee(vec![left.clone(), right.clone()]);
        tee.emit(Event::StepSkipped { step: 1 });
        tee.emit(Event::StepSkipped { step: 2 });
        assert_eq!(left.events(), right.events());
        assert_eq!(left.events().len(), 2);
    }
}
