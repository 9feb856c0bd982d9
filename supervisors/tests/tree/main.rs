//! Trees of real actors: how they heal and how they end.
#![allow(clippy::unwrap_used, reason = "panicking is how a test fails")]

mod ending;
mod healing;
mod probe;
