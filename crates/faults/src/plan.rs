//! Which faults there will be.

use std::time::Duration;

use crate::{Kind, Site};

/// One thing that is to go wrong, once.
///
/// It is due at the first visit of its site once the run is past its step; or earlier, within the step, when that site has been visited
/// often enough since the step began. So a fault whose step is before the last one always comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Optimizer steps that have been taken when it is due.
    pub step: u64,
    /// The visit of the site, within the step, at which it is due; from 1.
    pub after: u64,
    /// Where.
    pub site: Site,
    /// What.
    pub kind: Kind,
    /// How long, if it lasts at all.
    pub lasts: Duration,
}

/// Faults, each known by its place in the list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan(pub Vec<Fault>);

impl Fault {
    /// A fault of `kind` that lasts as long as such faults usually do.
    #[must_use]
    pub fn new(step: u64, after: u64, site: Site, kind: Kind) -> Self {
        Self { step, after, site, kind, lasts: kind.lasts(site).unwrap_or_default() }
    }

    /// What it does, in words.
    #[must_use]
    pub fn detail(&self) -> String {
        let lasts = self.lasts;
        match self.kind {
            Kind::Panic => format!("{} panics", self.site),
            Kind::Error => format!("{} fails", self.site),
            Kind::Slow => format!("{} takes {lasts:?} longer", self.site),
            Kind::Hang => format!("{} is silent for {lasts:?}", self.site),
            Kind::Drop => "a message is lost".into(),
            Kind::Duplicate => "a message comes twice".into(),
            Kind::Reorder => format!("a message comes {lasts:?} late"),
            Kind::NanGradient => "a gradient is not a number".into(),
            Kind::JudgeOutage => format!("nothing is scored for {lasts:?}"),
            Kind::ToolGarbage => "a tool answers nonsense".into(),
            Kind::DiskFull => "there is no room for a checkpoint".into(),
            Kind::TornWrite => "half a checkpoint is written".into(),
            Kind::ClockJump => format!("the clock goes back by {lasts:?}"),
            Kind::Kill => "the process is killed".into(),
        }
    }
}
