//! The whole product, as its users and their machines treat it: killed, interrupted, fed with nonsense, and left alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod algorithms;
mod bench;
mod commands;
mod configurations;
mod crashes;
mod disk;
mod doctor;
mod families;
mod faults;
mod health;
mod inspection;
mod interruptions;
mod judge;
mod kills;
mod lab;
mod offline;
mod panics;
mod refusals;
mod reloads;
mod report;
mod scores;
mod seeds;
mod stalls;
mod supervision;
mod topologies;
