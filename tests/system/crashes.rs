//! `kill -9` at any moment costs nothing but time: `--resume` ends where the run would have ended.

use std::fs;
use std::path::PathBuf;

use stateset_telemetry::Event;

use crate::lab::{Lab, Running, assert_undisturbed, checkpoints, events, expect};

/// Starts or resumes the run, and kills it once it says `words` and `then` holds.
fn kill_when(lab: &Lab, words: &str, then: impl Fn() -> bool) {
    let mut running = Running::start(lab.resume().args(["--log-level", "debug"]));
    running.wait_for(words);
    while !then() {
        std::thread::yield_now();
    }
    running.child.kill().unwrap();
    assert_eq!(running.end().status.code(), None, "it ended by a signal");
}

fn kill_at(lab: &Lab, words: &str) {
    kill_when(lab, words, || true);
}

fn resume(lab: &Lab) {
    expect(0, &mut lab.resume());
    assert_undisturbed(&lab.run());
}

#[test]
fn a_kill_during_a_rollout_changes_nothing() {
    let lab = Lab::new();
    kill_at(&lab, "rollout begins step=3");
    assert_eq!(checkpoints(&lab.run()), ["step-000002"]);
    resume(&lab);
}

/// Bytes in the journal.
fn journal_bytes(lab: &Lab) -> u64 {
    let files = fs::read_dir(lab.run().journal()).into_iter().flatten().map(Result::unwrap);
    files.map(|file| file.metadata().unwrap().len()).sum()
}

#[test]
fn episodes_that_were_accepted_before_a_kill_are_not_sampled_again() {
    let lab = Lab::new();
    let mut running = Running::start(lab.resume().args(["--log-level", "debug"]));
    running.wait_for("rollout begins step=3");
    // Three episodes of this round, and none of the next.
    let before = journal_bytes(&lab);
    while journal_bytes(&lab) < before + 3000 {
        std::thread::yield_now();
    }
    running.child.kill().unwrap();
    assert_eq!(running.end().status.code(), None, "it ended by a signal");
    resume(&lab);
    let replayed = events(&lab.run()).into_iter().filter_map(|timed| match timed.event {
        Event::EpisodesReplayed { step, episodes } => Some((step, episodes)),
        _ => None,
    });
    let replayed: Vec<(u64, u64)> = replayed.collect();
    assert_eq!(replayed[0], (3, 16), "the whole round of the step that was taken");
    assert!(replayed[1].0 == 4 && (1..=16).contains(&replayed[1].1), "{replayed:?}");
}

#[test]
fn a_kill_during_an_optimizer_step_changes_nothing() {
    let lab = Lab::new();
    kill_at(&lab, "optimizer step begins step=3");
    assert_eq!(checkpoints(&lab.run()), ["step-000002"]);
    resume(&lab);
}

#[test]
fn a_kill_during_the_writing_of_a_checkpoint_changes_nothing() {
    let lab = Lab::new();
    let written = |name: &'static str| -> PathBuf { lab.runs().join("small/checkpoints").join(name) };
    let (writing, whole) = (written(".writing-000004"), written("step-000004"));
    kill_when(&lab, "checkpoint begins step=4", || writing.exists() || whole.exists());
    resume(&lab);
}

#[test]
fn a_kill_before_the_first_checkpoint_changes_nothing() {
    let lab = Lab::new();
    kill_at(&lab, "rollout begins step=1");
    assert!(checkpoints(&lab.run()).is_empty());
    resume(&lab);
}

#[test]
fn kills_in_a_row_change_nothing() {
    let lab = Lab::new();
    kill_at(&lab, "optimizer step begins step=2");
    kill_at(&lab, "optimizer step begins step=2");
    kill_at(&lab, "rollout begins step=6 task=Evaluate(EvaluateGreedy)");
    resume(&lab);
}
