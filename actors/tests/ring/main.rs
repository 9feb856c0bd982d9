//! The whole ring, with fakes at its edges and a keeper in place of supervisors.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod ahead;
mod crashes;
mod health;
mod journal;
mod recorder;
mod resampling;
mod rig;
mod runs;
mod trajectories;
