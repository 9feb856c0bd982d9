//! Profiles: defaults for a manner of training, which any key that is written down overrides.
//!
//! The well-known profiles are for adapters of large models: learning rates of 1e-6, 5e-6 and 1e-5, groups of 32, 16 and 8, gradients
//! cut to 0.5, 1 and 2, a warm-up over a fifth, a tenth and a twentieth of the run, evaluations every 25, 50 and 100 steps. Here a
//! policy has a million parameters and all of them are trained, in runs of tens of steps instead of hundreds. So what is a ratio stays
//! (learning rates 1 : 5 : 10 about a middle of 3e-4, cuts, warm-up), groups are half as large, and evaluations two and a half times as
//! frequent.

use stateset_actors::policy::Profile;

use super::node::{Node, Value};
use super::{Training, overrides};

/// What a profile says, by key.
fn values(profile: Profile, steps: u64) -> Vec<(&'static str, String)> {
    let (rate, group, cut, warmup, every) = match profile {
        Profile::None | Profile::Auto => return Vec::new(),
        Profile::Conservative => ("6e-5", 16, "0.5", 0.2, 10),
        Profile::Balanced => ("3e-4", 8, "1.0", 0.1, 20),
        Profile::Aggressive => ("6e-4", 4, "2.0", 0.05, 40),
    };
    vec![
        ("training.learning_rate", rate.to_owned()),
        ("training.group_size", group.to_string()),
        ("training.max_grad_norm", cut.to_owned()),
        ("training.schedule.warmup_steps", ((steps as f64 * warmup) as u64).to_string()),
        ("training.eval_every", every.to_string()),
    ]
}

/// Lays the values of the profile that `root` names under what it says itself.
pub(super) fn lay(root: &mut Node) {
    let Some(Value::Text(name)) = root.at("training.profile").map(|node| &node.value) else { return };
    let Ok(profile) = serde_json::from_value::<Profile>(name.clone().into()) else { return };
    let steps = match root.at("training.steps").map(|node| &node.value) {
        Some(Value::Integer(steps)) => u64::try_from(*steps).unwrap_or(0),
        _ => Training::default().steps,
    };
    for (key, value) in values(profile, steps) {
        if root.at(key).is_none() {
            // A key and a number: there is nothing to complain about.
            let _ = overrides::apply(root, 0, &format!("{key}={value}"));
        }
    }
}
