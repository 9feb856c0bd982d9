//! Credit: how much better an answer was than could be expected.

mod group;

pub use group::{Scale, group_relative, is_flat};
