//! What a run writes about itself: typed events and per-step metrics.
//!
//! An [`Event`] is a fact with its cause, never a log line to be parsed. Whoever has something to say holds an [`EventSink`]; where it
//! ends up (a file, a test's memory) is decided by whoever built the sink. Both files of a run are JSON lines, one record a line:
//!
//! | File            | Written by     | On restart                                                     |
//! |-----------------|----------------|----------------------------------------------------------------|
//! | `events.jsonl`  | [`JsonLines`]  | only ever grows: what happened, happened                       |
//! | `metrics.jsonl` | [`MetricsLog`] | rows beyond the restored step are cut, so a step has one row   |

mod event;
mod json_lines;
mod log_file;
mod metrics_log;
mod sink;

pub use event::{ConfigChange, Event, ExitCause, StopMeans};
pub use json_lines::{JsonLines, TimedEvent};
pub use log_file::LogError;
pub use metrics_log::MetricsLog;
pub use sink::{EventSink, Memory, Nowhere, Tee};
