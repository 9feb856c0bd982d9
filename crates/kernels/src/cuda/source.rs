//! The kernels' sources, one unit for each family, as NVRTC gets them. A family that takes long to compile is several units, of which a run
//! needs one.

use super::entries::entries;

/// A text that is compiled by itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Unit {
    /// The name of its file, without the ending.
    pub name: &'static str,
    /// What all units begin with, what the units of its family share, and the unit's own text.
    pub text: &'static str,
}

impl Unit {
    /// The names of its kernels.
    pub fn entries(&self) -> impl Iterator<Item = &'static str> + use<> {
        entries(self.text)
    }
}

macro_rules! units {
    ($($unit:ident = $file:literal $(behind $shared:literal)?),+ $(,)?) => {
        $(pub(crate) static $unit: Unit = Unit {
            name: $file,
            text: concat!(
                include_str!("../../cu/prelude.cu"),
                $(include_str!(concat!("../../cu/", $shared, ".cu")),)?
                include_str!(concat!("../../cu/", $file, ".cu"))
            ),
        };)+

        /// All of them.
        pub static UNITS: &[&Unit] = &[$(&$unit),+];
    };
}

units! {
    ADAMW = "adamw",
    ADVANTAGE = "advantage",
    ATTENTION_64 = "attention_64" behind "attention",
    ATTENTION_128 = "attention_128" behind "attention",
    ATTENTION_256 = "attention_256" behind "attention",
    ATTENTION_SUMS = "attention_sums",
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
