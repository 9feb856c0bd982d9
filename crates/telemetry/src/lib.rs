//! What a run writes about itself: typed events and per-step metrics.
//!
//! An [`Event`] is a fact with its cause, never a log line to be parsed. Whoever has something to say holds an [`EventSink`]; where it
//! ends up (a file, a test's memory) is decided by whoever built the sink.

mod event;
mod sink;

pub use event::{Event, ExitCause, StopMeans};
pub use sink::{EventSink, Memory, Nowhere};
