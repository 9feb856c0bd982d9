//! Many sequences at once: continuous batching with prefixes kept between turns.
//!
//! [`BatchEngine`] holds a slot of key-value cache per conversation. Every step feeds each live request its next token or a piece of
//! its prompt, all as rows of one batch; requests join and leave between steps. A conversation that comes back with more turns pays
//! only for what is new, and a prompt that several begin with is computed once and copied. What a request samples depends on its
//! tokens, the weights and its own random stream, never on its company.

mod engine;
#[cfg(any(feature = "cuda", feature = "shim"))]
mod gpu;
mod runner;
mod schedule;
mod slots;

pub use engine::{BatchEngine, EngineLimits};
#[cfg(any(feature = "cuda", feature = "shim"))]
pub use gpu::Gpu;
pub use runner::{Cpu, Runner};
