//! What a run's file may say about its actors: who restarts whom, and who reaches whom.
//!
//! It is laid over the standard topology (`src/topology/standard.yaml`): what a file does not describe is as it is there.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Backoff, Restarts, duration};

/// Who restarts whom, and who reaches whom. Whatever is left out is as in the standard topology; a part of the standard topology that
/// no supervisor lists as its child is not used.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topology {
    /// What holds for every actor that does not say otherwise.
    pub defaults: ActorDefaults,
    /// Supervisors by name; `root` is the first. Default: the standard ones.
    pub supervisors: BTreeMap<String, SupervisorNode>,
    /// Actors by name. Default: the standard ones.
    pub actors: BTreeMap<String, ActorNode>,
}

/// What holds for every actor that does not say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ActorDefaults {
    /// When an actor that has ended is started again. Default `permanent`: a run needs all of them.
    pub restart: RestartWhen,
    /// How long an actor may take to end.
    pub shutdown: Shutdown,
}

/// When an actor that has ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartWhen {
    /// Always.
    #[default]
    Permanent,
    /// Unless it meant to end.
    Transient,
    /// Never.
    Temporary,
}

/// How long an actor may take to end, rung by rung.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// To finish what waits for it. 0 drops what waits; default `5s`.
    #[serde(with = "duration")]
    pub drain: Duration,
    /// To finish what it is at. 0 does not wait; default `2s`.
    #[serde(with = "duration")]
    pub stop: Duration,
    /// To be gone once killed; what is not is left behind and never replaced. Above 0; default `1s`.
    #[serde(with = "duration")]
    pub kill: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        let [drain, stop, kill] = [5, 2, 1].map(Duration::from_secs);
        Self { drain, stop, kill }
    }
}

/// A supervisor. What is left out is as in the standard topology, if it is one of its supervisors.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SupervisorNode {
    /// Whom a failure concerns. Default `one_for_one`.
    pub strategy: Option<StrategyName>,
    /// How many restarts are too many for it. Default: `supervision.restarts`.
    pub intensity: Option<Restarts>,
    /// How long its restarts wait. Default: `supervision.backoff`.
    pub backoff: Option<Backoff>,
    /// What it does when restarting does not help. Default `escalate`: a run needs all of its actors.
    pub on_exceeded: Option<OnExceeded>,
    /// For how long a child in quarantine is left alone. Above 0; default `1m`.
    pub cool_off: Option<CoolOff>,
    /// Whether it ends when its significant children have. Default `never`: a run says itself when it is over.
    pub auto_shutdown: Option<AutoShutdownName>,
    /// Supervisors and actors, in the order in which they start; they end in the opposite one.
    pub children: Option<Vec<String>>,
}

/// Whom a failure concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrategyName {
    /// The child that failed.
    OneForOne,
    /// All children.
    OneForAll,
    /// The child that failed and those that were started after it.
    RestForOne,
}

/// For how long a child in quarantine is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CoolOff(#[serde(with = "duration")] pub Duration);

impl Default for CoolOff {
    fn default() -> Self {
        Self(Duration::from_secs(60))
    }
}

/// Whether a supervisor ends when its significant children have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdownName {
    /// It does not.
    Never,
    /// With the first of them.
    AnySignificant,
    /// With the last of them.
    AllSignificant,
}

/// What a supervisor does when restarting does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExceeded {
    /// It gives up, and is a failed child itself.
    Escalate,
    /// It leaves the child alone for `cool_off`, then tries again with a clean record.
    Quarantine,
    /// It does without the child.
    Degrade,
}

/// An actor. What is left out is as in the standard topology, if it is one of its actors.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ActorNode {
    /// What it does. Default: the kind of its own name.
    pub kind: Option<String>,
    /// As how many it runs, taking turns. Default: one, without a pool.
    pub pool: Option<Pool>,
    /// When it is started again. Default: `topology.defaults.restart`.
    pub restart: Option<RestartWhen>,
    /// How many restarts of this one alone are too many. Default: only its supervisor counts.
    pub intensity: Option<Restarts>,
    /// Whether its end may be its supervisor's, if that has an `auto_shutdown`. Default: no.
    pub significant: Option<bool>,
    /// How long it may take to end. Default: `topology.defaults.shutdown`.
    pub shutdown: Option<Shutdown>,
    /// Whom its ports lead to. A port left out leads to the only actor that takes such messages.
    pub to: BTreeMap<String, String>,
    /// What its kind asks for; the kinds of this program ask for nothing.
    pub params: Params,
}

/// What an actor's kind asks for, by name.
pub type Params = BTreeMap<String, serde_json::Value>;

/// Several actors in the place of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pool {
    /// How many. At least 1; default 2.
    pub size: usize,
}

impl Default for Pool {
    fn default() -> Self {
        Self { size: 2 }
    }
}
