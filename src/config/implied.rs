//! What one key implies for others, unless they are written down: a profile is a manner of training, an algorithm a choice of settings.
//!
//! The well-known profiles are for adapters of large models: learning rates of 1e-6, 5e-6 and 1e-5, groups of 32, 16 and 8, gradients
//! cut to 0.5, 1 and 2, a warm-up over a fifth, a tenth and a twentieth of the run, evaluations every 25, 50 and 100 steps. Here a
//! policy has a million parameters and all of them are trained, in runs of tens of steps instead of hundreds. So what is a ratio stays
//! (learning rates 1 : 5 : 10 about a middle of 3e-4, cuts, warm-up), groups are half as large, and evaluations two and a half times as
//! frequent. A natural step has no learning rate; there the bound on its KL is half and twice the usual one.

use serde::de::DeserializeOwned;
use stateset_actors::policy::Profile;
use stateset_algorithms::Algorithm;

use super::node::{Node, Value};
use super::{Training, overrides};

/// What a profile says, by key.
fn values(profile: Profile, algorithm: Algorithm, steps: u64) -> Vec<(String, String)> {
    let (rate, bound, group, cut, warmup, every) = match profile {
        Profile::None | Profile::Auto => return Vec::new(),
        Profile::Conservative => ("6e-5", "0.005", 16, "0.5", 0.2, 10),
        Profile::Balanced => ("3e-4", "0.01", 8, "1.0", 0.1, 20),
        Profile::Aggressive => ("6e-4", "0.02", 4, "2.0", 0.05, 40),
    };
    let pace = match algorithm {
        Algorithm::Trpo => ("trpo.max_kl", bound.to_owned()),
        _ => ("learning_rate", rate.to_owned()),
    };
    let values = [
        pace,
        ("group_size", group.to_string()),
        ("max_grad_norm", cut.to_owned()),
        ("schedule.warmup_steps", ((steps as f64 * warmup) as u64).to_string()),
        ("eval_every", every.to_string()),
    ];
    values.map(|(key, value)| (format!("training.{key}"), value)).into()
}

/// Lays what the profile and the algorithm that `root` names imply under what it says itself.
pub(super) fn lay(root: &mut Node) {
    let steps = match root.at("training.steps").map(|node| &node.value) {
        Some(Value::Integer(steps)) => u64::try_from(*steps).unwrap_or(0),
        _ => Training::default().steps,
    };
    let algorithm: Algorithm = named(root, "training.algorithm").unwrap_or_default();
    let mut implied =
        named(root, "training.profile").map_or_else(Vec::new, |profile| values(profile, algorithm, steps));
    let own = algorithm.means().iter().chain(algorithm.prefers());
    implied.extend(own.map(|(key, value)| (format!("training.{key}"), (*value).to_owned())));
    let file = |key: &str| matches!(root.at(key).map(|node| &node.value), Some(Value::Text(_)));
    if !algorithm.samples() || (algorithm == Algorithm::Dpo && file("training.dpo.file")) {
        implied.retain(|(key, _)| key != "training.group_size");
    }
    for (key, value) in implied {
        if root.at(&key).is_none() {
            // A key and a number or a name: there is nothing to complain about.
            let _ = overrides::apply(root, 0, &format!("{key}={value}"));
        }
    }
}

/// What `key` names, if it names something; if not, the reader will say so.
fn named<T: DeserializeOwned>(root: &Node, key: &str) -> Option<T> {
    let Some(Value::Text(name)) = root.at(key).map(|node| &node.value) else { return None };
    serde_json::from_value(name.clone().into()).ok()
}
