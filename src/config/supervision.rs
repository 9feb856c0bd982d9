//! What a run's file may say about failure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;
use super::findings::Findings;

/// What happens when something fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Supervision {
    /// Conversations alive at once; the next one waits for a place. At least 1; default 128, one step's worth.
    pub max_live_episodes: usize,
    /// How often an episode is tried before it is given up on. At least 1; default 3.
    pub attempts: u32,
    /// How many restarts are too many.
    pub restarts: Restarts,
    /// How long to wait before a restart.
    pub backoff: Backoff,
    /// How long to wait for an answer.
    pub deadlines: Deadlines,
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            max_live_episodes: 128,
            attempts: 3,
            restarts: Restarts::default(),
            backoff: Backoff::default(),
            deadlines: Deadlines::default(),
        }
    }
}

/// How many restarts are too many: one more than `max` within the time, and the supervisor gives up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Restarts {
    /// Restarts that are put up with. 0 puts up with none; default 5.
    pub max: u32,
    /// Within how long. Above 0; default `60s`.
    #[serde(with = "duration")]
    pub within: Duration,
}

impl Default for Restarts {
    fn default() -> Self {
        Self { max: 5, within: Duration::from_secs(60) }
    }
}

/// How long to wait before a restart: doubled each time, up to a limit, and by a random share less so that no two wait alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backoff {
    /// The first wait. Above 0; default `50ms`.
    #[serde(with = "duration")]
    pub min: Duration,
    /// The longest wait. At least `min`; default `5s`.
    #[serde(with = "duration")]
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { min: Duration::from_millis(50), max: Duration::from_secs(5) }
    }
}

/// How long to wait for an answer before its absence counts as a failure. Each above 0. The defaults are generous: a deadline is there
/// to find what is stuck, not what is slow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deadlines {
    /// A reply of the policy, queueing included. Default `2m`.
    #[serde(with = "duration")]
    pub generate: Duration,
    /// An environment's answer to a reply. Default `30s`.
    #[serde(with = "duration")]
    pub environment: Duration,
    /// A judge that takes a finished episode; a model that judges has a `timeout` of its own. Default `30s`.
    #[serde(with = "duration")]
    pub judge: Duration,
    /// New weights in the inference engine. Default `1m`.
    #[serde(with = "duration")]
    pub load: Duration,
    /// A checkpoint on disk. Default `1m`.
    #[serde(with = "duration")]
    pub save: Duration,
    /// For a thread that is to be replaced to end; then it is left behind, and can commit nothing any more. Below `load` and `save`, so
    /// that whoever asks its successor still gets an answer. Default `30s`.
    #[serde(with = "duration")]
    pub thread: Duration,
    /// Any progress at all; without it whoever is to blame is restarted, and after twice as long the process ends. Default `5m`.
    #[serde(with = "duration")]
    pub stall: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let [half, one, two, five] = [30, 60, 120, 300].map(Duration::from_secs);
        Self { generate: two, environment: half, judge: half, load: one, save: one, thread: half, stall: five }
    }
}

/// What its values mean.
pub(super) fn validate(supervision: &Supervision, found: &mut Findings) {
    let Supervision { max_live_episodes, attempts, restarts, backoff, deadlines } = supervision;
    found.check(*max_live_episodes >= 1, "supervision.max_live_episodes", max_live_episodes, "at least 1");
    found.check(*attempts >= 1, "supervision.attempts", attempts, "at least 1");
    found.positive("supervision.restarts.within", restarts.within);
    found.positive("supervision.backoff.min", backoff.min);
    let ordered = backoff.max >= backoff.min;
    found.check(
        ordered,
        "supervision.backoff.max",
        duration::text(backoff.max),
        format!("at least backoff.min = {}", duration::text(backoff.min)),
    );
    for (name, deadline) in [
        ("generate", deadlines.generate),
        ("environment", deadlines.environment),
        ("judge", deadlines.judge),
        ("load", deadlines.load),
        ("save", deadlines.save),
        ("thread", deadlines.thread),
        ("stall", deadlines.stall),
    ] {
        found.positive(&format!("supervision.deadlines.{name}"), deadline);
    }
}
