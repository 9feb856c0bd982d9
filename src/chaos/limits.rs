//! Limits for a run in which things go wrong on purpose.
//!
//! A limit tells what is wrong from what is bad luck, by how much bad luck is likely. With hundreds of faults in minutes that is another
//! amount: each fault may cost a restart and an attempt, and what is silent must be found soon. What a run computes is left alone.

use std::time::Duration;

use serde::Serialize;

use crate::config::{Config, Lasting};

/// A limit that is another one than the configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    /// Its key.
    pub(crate) key: &'static str,
    /// What the configuration says.
    pub(crate) from: String,
    /// What it is.
    pub(crate) to: String,
    /// Why.
    pub(crate) why: &'static str,
}

/// Every limit of `config` that is changed for a run with so many faults.
pub(crate) fn limits(config: &Config, faults: u64) -> Vec<Change> {
    let supervision = &config.supervision;
    let (restarts, deadlines, training) = (&supervision.restarts, &supervision.deadlines, &config.training);
    let more = u32::try_from(faults).unwrap_or(u32::MAX);
    let often = training.save_every.min((training.steps / faults.max(1)).max(1));
    let number = |key, from: u64, to: u64, why| Change { key, from: from.to_string(), to: to.to_string(), why };
    let at_most = |key, from: Duration, limit: u64, why| {
        let text = |duration| Lasting(duration).to_string();
        Change { key, from: text(from), to: text(from.min(Duration::from_millis(limit))), why }
    };
    let restarted = u64::from(restarts.max.saturating_add(more));
    let attempted = u64::from(supervision.attempts.saturating_add(more));
    let soon = "a silence must be found while the run lasts";
    let changes = [
        number("supervision.restarts.max", restarts.max.into(), restarted, "each fault may cost a restart"),
        number("supervision.attempts", supervision.attempts.into(), attempted, "each fault may cost an attempt"),
        at_most("supervision.backoff.min", supervision.backoff.min, 20, "what fails once will not fail again"),
        at_most("supervision.backoff.max", supervision.backoff.max, 250, "what fails once will not fail again"),
        at_most("supervision.deadlines.environment", deadlines.environment, 2_000, soon),
        at_most("supervision.deadlines.judge", deadlines.judge, 2_000, soon),
        at_most("supervision.deadlines.generate", deadlines.generate, 30_000, soon),
        at_most("supervision.deadlines.load", deadlines.load, 10_000, soon),
        at_most("supervision.deadlines.save", deadlines.save, 10_000, soon),
        at_most("supervision.deadlines.stall", deadlines.stall, 20_000, soon),
        at_most("supervision.deadlines.thread", deadlines.thread, 5_000, soon),
        number("training.save_every", training.save_every, often, "a fault may cost what was not saved"),
        Change {
            key: "logging.level",
            from: format!("{:?}", config.logging.level).to_lowercase(),
            to: "error".into(),
            why: "every fault is in events.jsonl",
        },
    ];
    changes.into_iter().filter(|change| change.from != change.to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_computes_is_left_alone() {
        let config = Config::default();
        let changed = limits(&config, 500);
        let mut after = config.clone();
        after.training.save_every = 1;
        assert!(changed.iter().any(|change| change.key == "training.save_every" && change.to == "1"), "{changed:?}");
        assert_eq!(config.fingerprint(), after.fingerprint());
        let incidental = ["supervision.", "training.save_every", "logging."];
        assert!(changed.iter().all(|change| incidental.iter().any(|key| change.key.starts_with(key))), "{changed:?}");
    }

    #[test]
    fn a_limit_that_suits_already_is_kept() {
        let mut config = Config::default();
        config.supervision.deadlines.judge = Duration::from_secs(1);
        let changed = limits(&config, 10);
        assert!(changed.iter().all(|change| change.key != "supervision.deadlines.judge"));
        let restarts = changed.iter().find(|change| change.key == "supervision.restarts.max").unwrap();
        assert_eq!((restarts.from.as_str(), restarts.to.as_str()), ("5", "15"));
    }
}
