//! The kernels' sources, one unit for each family, as NVRTC gets them.

use super::entries::entries;

/// A text that is compiled by itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Unit {
    /// The name of its file, without the ending.
    pub name: &'static str,
    /// What all units begin with, and the unit's own text.
    pub text: &'static str,
}

impl Unit {
    /// The names of its kernels.
    pub fn entries(&self) -> impl Iterator<Item = &'static str> + use<> {
        entries(self.text)
    }
}

macro_rules! units {
    ($($unit:ident = $file:literal),+ $(,)?) => {
        $(pub(crate) static $unit: Unit = Unit {
            name: $file,
            text: concat!(include_str!("../../cu/prelude.cu"), include_str!(concat!("../../cu/", $file, ".cu"))),
        };)+

        /// All of them.
        pub static UNITS: &[&Unit] = &[$(&$unit),+];
    };
}

units! {
    ADAMW = "adamw",
    ADVANTAGE = "advantage",
    ATTENTION = "attention",
    DECODE = "decode",
    GATE = "gate",
    HEAD_NORM = "head_norm",
    LOG_PROB = "log_prob",
    NORM = "norm",
    OBJECTIVE = "objective",
    ROPE = "rope",
    ROWS = "rows",
    SAMPLE = "sample",
    SUMS = "sums",
}
