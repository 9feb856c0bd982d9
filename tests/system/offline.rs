//! Runs that learn from what they are given, and sample nothing but to be evaluated.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use stateset_agents::read_result;
use stateset_domain::Digest;
use stateset_telemetry::Event;

use crate::lab::{Lab, Running, events, expect, here, stateset, stderr, stdout, steps};

/// From where the configuration is.
const TALKS: [&str; 1] = ["training.sft.file=data/talks.jsonl"];
const PAIRS: [&str; 4] =
    ["training.algorithm=dpo", "training.sft.batch=32", "training.dpo.file=data/pairs.jsonl", "training.dpo.batch=3"];

fn command(name: &str, sets: &[&str]) -> Command {
    let mut command = stateset();
    command.arg(name).arg(here().join("offline.yaml"));
    for set in sets {
        command.args(["--set", set]);
    }
    command
}

/// `stateset train offline.yaml` in `lab`, with `sets`.
fn train(lab: &Lab, sets: &[&str]) -> Command {
    let mut command = command("train", sets);
    command.arg("--output-dir").arg(lab.runs());
    command
}

fn digest(lab: &Lab) -> Digest {
    read_result(&lab.run()).unwrap().policy_digest
}

#[test]
fn demonstrations_are_learned_from_and_evaluated_and_nothing_is_made_of_rewards_that_are_not_there() {
    let lab = Lab::new();
    let told = stderr(&expect(0, &mut train(&lab, &[])));
    assert!(told.contains("6 steps of 4 demonstrations of the domain in "), "{told}");
    assert!(told.contains("step    6/6  loss ") && !told.contains("NaN"), "{told}");
    let summary = read_result(&lab.run()).unwrap();
    assert_eq!((summary.steps, summary.episodes_completed, summary.episodes_lost), (6, 0, 0));
    assert!(summary.base.is_some() && summary.trained.is_some());
    let rows = steps(&lab.run());
    assert!(rows.iter().all(|row| row["reward_mean"] == Value::Null && row["kl"] == Value::Null), "{rows:?}");
    let loss = |row: &Value| row["loss"].as_f64().unwrap();
    assert!(loss(&rows[5]) < 0.8 * loss(&rows[0]), "{rows:?}");
    assert!(!events(&lab.run()).iter().any(|timed| matches!(timed.event, Event::Ruled(_))), "no rule has a say");
    let report = fs::read_to_string(lab.run().report()).unwrap();
    assert!(report.contains("<b>Loss</b>") && !report.contains("<b>Reward</b>") && !report.contains("NaN"));
}

#[test]
fn a_run_that_is_killed_and_resumed_ends_as_if_nothing_had_been() {
    for sets in [&[][..], &TALKS, &PAIRS] {
        let long = [sets, &["training.steps=12", "training.save_every=5", "evaluation.episodes=1"]].concat();
        let (undisturbed, lab) = (Lab::new(), Lab::new());
        expect(0, &mut train(&undisturbed, &long));
        let mut running = Running::start(&mut train(&lab, &long));
        running.wait_for("step    7/12");
        running.child.kill().unwrap();
        running.end();
        expect(0, train(&lab, &long).arg("--resume"));
        assert_eq!(digest(&lab), digest(&undisturbed), "{sets:?}");
        assert_eq!(steps(&lab.run()), steps(&undisturbed.run()), "{sets:?}");
    }
}

#[test]
fn files_lead_elsewhere_than_demonstrations_and_another_seed_elsewhere_again() {
    let run = |sets: &[&str]| {
        let lab = Lab::new();
        expect(0, &mut train(&lab, sets));
        digest(&lab).to_string()
    };
    let other = [&TALKS[..], &["run.seed=1"]].concat();
    let mut digests = vec![run(&[]), run(&TALKS), run(&other), run(&PAIRS)];
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 4);
}

#[test]
fn a_run_is_resumed_with_the_file_that_it_began_with_wherever_that_is_now() {
    let (lab, data) = (Lab::new(), here().join("data/talks.jsonl"));
    let copy = lab.runs().join("copy.jsonl");
    let set = format!("training.sft.file={}", copy.display());
    fs::copy(&data, &copy).unwrap();
    expect(0, &mut train(&lab, &[&set]));
    expect(0, train(&lab, &TALKS).arg("--resume"));
    let text = fs::read_to_string(&data).unwrap();
    fs::write(&copy, text.replacen("hi", "hello", 1)).unwrap();
    let told = stderr(&expect(2, train(&lab, &[&set]).arg("--resume")));
    assert!(told.contains("training.sft.file was ") && told.contains(" and is now "), "{told}");
    fs::remove_file(copy).unwrap();
    expect(0, stateset().arg("evaluate").arg(lab.run().folder()));
}

#[test]
fn every_line_that_cannot_be_used_is_named_before_anything_is_started() {
    let lab = Lab::new();
    let set = ["training.sft.file=broken/talks.jsonl"];
    let told = stderr(&expect(2, &mut command("validate", &set)));
    for wanted in [
        "talks.jsonl, line 2: it is not JSON: EOF while parsing a list",
        "talks.jsonl, line 4: `messages` is empty",
        "talks.jsonl, line 5: message 2 of `messages` has the unknown role `asistant`",
        "= allowed: `system`, `user`, `assistant`, `tool`",
        "= help: did you mean `assistant`?",
        "talks.jsonl, line 6: the assistant says nothing",
        "talks.jsonl, line 7: it has ",
        "= allowed: at most agent.max_context = 512",
        "talks.jsonl: 2 more lines cannot be used",
        ": 6 problems",
    ] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    assert_eq!(stderr(&expect(2, &mut train(&lab, &set))), told);
    assert_eq!(fs::read_dir(lab.runs()).unwrap().count(), 0, "a folder was made");
    let told = stderr(&expect(2, &mut command("validate", &["training.sft.file=data/pairs.jsonl"])));
    assert!(told.contains("pairs.jsonl, line 1: it has no `messages`"), "{told}");
    let told = stderr(&expect(2, &mut command("validate", &["training.sft.file=data/none.jsonl"])));
    assert!(told.contains("cannot read data/none.jsonl") && told.contains("beside the configuration"), "{told}");
    let told = stderr(&expect(2, &mut command("validate", &["agent.max_context=20", "agent.sampling.max_tokens=8"])));
    assert!(told.contains("none of 16 demonstrations fits into agent.max_context = 20"), "{told}");
}

#[test]
fn what_is_said_about_sampled_episodes_is_refused_by_name() {
    let refused = |sets: &[&str]| stderr(&expect(2, &mut command("validate", sets)));
    let told = refused(&["training.group_size=4", "training.rollouts=asynchronous"]);
    assert!(told.contains("`training.group_size` is set, but sampled episodes have no part in sft"), "{told}");
    assert!(told.contains("`training.rollouts` is set, but"), "{told}");
    let told = refused(&[&PAIRS[..], &["training.groups_per_step=2"]].concat());
    assert!(told.contains("`training.groups_per_step` is set, but sampled episodes have no part in dpo"), "{told}");
    let told = refused(&["training.algorithm=grpo"]);
    assert!(told.contains("`training.sft.batch` is set to 4, but grpo looks at training.grpo only"), "{told}");
}

#[test]
fn a_profile_and_what_a_step_is_made_of_are_told() {
    let told = stdout(&expect(0, &mut command("validate", &["training.profile=conservative"])));
    assert!(told.contains("6 steps of 4 demonstrations of the domain; learning rate 6e-5"), "{told}");
    let told = stdout(&expect(0, &mut command("validate", &PAIRS)));
    let file = here().join("data").join("pairs.jsonl");
    assert!(told.contains(&format!("6 steps of 3 pairs of {}; learning rate 3e-4", path(&file))), "{told}");
}

fn path(file: &Path) -> String {
    file.display().to_string()
}
