//! Looking into a run from outside: `stateset inspect RUN`.
//!
//! The process that runs answers on a local socket in the run's folder. A thread of its own does the answering, and everything it tells
//! is read from shared memory: actors may be stuck, the async runtime may be blocked, and it still answers. Nothing can be changed that
//! way. If nobody runs, the folder's `events.jsonl` tells what was last known.

mod client;
mod past;
mod picture;
mod recent;
mod server;
mod text;

pub(crate) use client::{Form, look};
pub(crate) use picture::Seen;
pub(crate) use recent::Recent;
pub(crate) use server::Server;
