//! Trees of real actors: how they heal, how they end, and what they keep.
#![allow(clippy::unwrap_used, reason = "panicking is how a test fails")]

mod bounds;
mod ending;
mod healing;
mod memory;
mod probe;
