//! How fast credit is given.

use anyhow::Result;
use serde_json::{Map, json};
use stateset_algorithms::advantage::Gae;
use stateset_algorithms::{Earned, Grpo, Turn};
use stateset_domain::{Stream, sha256_hex};

use super::Refused;
use super::measure::{Listener, Progress, Repeats};
use super::report::{Measured, Report, Work};
use super::roof::Threads;
use crate::device::Place;

/// Episodes to give credit to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Episodes {
    /// How many.
    pub(crate) sequences: usize,
    /// Sampled tokens of each.
    pub(crate) completion: usize,
    /// Episodes of a group.
    pub(crate) group: usize,
    /// What rewards and values are drawn from.
    pub(crate) seed: u64,
}

/// Bytes of a token that must be read: its reward, its value and whether it was sampled for the one, what it is charged for the other; and
/// those of its two advantages that must be written.
const READ: usize = 8 + 8 + 1 + 8;
const WRITTEN: usize = 8 + 8;

/// Measures advantages within groups, spread over tokens, and generalised advantage estimation over the same tokens; both on one thread, as
/// a learner does it.
///
/// # Errors
/// If the groups are not whole.
pub(crate) fn advantage(episodes: Episodes, repeats: Repeats, listener: Listener<'_>) -> Result<Report> {
    let Episodes { sequences, completion, group, seed } = episodes;
    if sequences % group != 0 {
        return Err(Refused(format!("--group {group} does not divide --sequences {sequences}")).into());
    }
    listener(Progress::Preparing);
    let mut stream = Stream::new(seed);
    let mut normals = |count: usize| -> Vec<f64> { (0..count).map(|_| stream.normal()).collect() };
    let rewards = normals(sequences);
    let values: Vec<Vec<f64>> = (0..sequences).map(|_| normals(completion)).collect();
    let token_rewards: Vec<Vec<f64>> = (0..sequences).map(|_| normals(completion)).collect();
    let (charges, mask) = (vec![0.0; completion], vec![true; completion]);
    let turns = [Turn { tokens: 0..completion, reward: 0.0 }];
    let earned = |reward: &f64| Earned { reward: *reward, terms: &[], turns: &turns, charges: &charges };
    let groups: Vec<Vec<Earned<'_>>> = rewards.chunks(group).map(|it| it.iter().map(earned).collect()).collect();
    let (grpo, gae) = (Grpo::default(), Gae { gamma: 1.0, lambda: 0.95, steps: None });
    let mut found = Vec::new();
    let laps = repeats.run(&["group", "gae"], listener, |_, watch| {
        watch.skip();
        let relative = grpo.credit(&groups);
        watch.phase();
        let estimated: Vec<Vec<f64>> =
            token_rewards.iter().zip(&values).map(|(rewards, values)| gae.advantages(rewards, values, &mask)).collect();
        watch.phase();
        let first = relative.iter().flatten().chain(&estimated).filter_map(|it| it.first());
        found = first.flat_map(|value| value.to_le_bytes()).collect();
        Ok(())
    })?;
    let tokens = sequences * completion;
    let settings = [
        ("sequences", json!(sequences)),
        ("completion", json!(completion)),
        ("group", json!(group)),
        ("seed", json!(seed)),
    ];
    let measured = Measured {
        bench: "advantage",
        title: format!(
            "{sequences} episodes of {completion} tokens in groups of {group}, once relative to the group and once by GAE"
        ),
        settings: settings.map(|(key, value)| (key.to_owned(), value)).into_iter().collect::<Map<_, _>>(),
        tokens,
        counted: "credited twice",
        work: Work::Memory {
            read: (READ * tokens - WRITTEN * tokens) as f64,
            copied: (2 * WRITTEN * tokens) as f64,
            threads: Threads::One,
        },
        digest: sha256_hex(&found),
    };
    Report::beside_the_roof(measured, Place::Cpu, laps, listener)
}
