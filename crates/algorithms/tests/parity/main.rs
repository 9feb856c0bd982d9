//! Ours beside others': losses, slopes and advantages of TRL and verl, for the same tensors.
//!
//! The numbers in `fixtures/` were computed by those libraries' own code, in float64, slopes by automatic differentiation; `tests/parity`
//! in the repository's root says how, and makes them again. What a test is about is therefore which of our settings is which of theirs:
//! each module holds that table, and where we differ on purpose.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod credit;
mod fixture;
mod preference;
mod trl;
mod verl;
