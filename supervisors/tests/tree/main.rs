//! Trees of real actors: how they heal and how they end.

mod ending;
mod healing;
mod probe;
