//! What `stateset bench` finds, at sizes that take no time.

use std::process::Command;

use serde_json::Value;

use crate::lab::{Running, expect, stateset, stderr, stdout};

const TINY: [&str; 8] = ["--sequences", "4", "--prompt", "8", "--completion", "6", "--repeat", "2"];

fn bench(what: &str, arguments: &[&str]) -> Command {
    let mut command = stateset();
    command.args(["bench", what]).args(arguments);
    command
}

/// The one object it prints, which says of everything that it is sane.
fn measured(what: &str, arguments: &[&str]) -> Value {
    let output = expect(0, bench(what, arguments).arg("--json"));
    let found: Value = serde_json::from_str(stdout(&output).lines().last().unwrap()).unwrap();
    assert_eq!((&found["bench"], &found["repeat"]), (&what.into(), &2.into()));
    let number = |key: &str| found[key].as_f64().unwrap_or_else(|| panic!("{key} in {found}"));
    let (least, middle) = (number("seconds_min"), number("seconds_median"));
    assert!(least > 0.0 && middle >= least, "{found}");
    assert!((number("tokens_per_second") * least / number("tokens") - 1.0).abs() < 1e-9, "{found}");
    // Other tests run beside this one, so how high the roof is found to be says nothing here.
    let rate = found["gflops"].as_f64().or(found["gigabytes_per_second"].as_f64()).unwrap();
    assert!(rate > 0.0 && (number("share_of_roof") * number("roof") / rate - 1.0).abs() < 1e-9, "{found}");
    assert!(number("peak_rss_bytes") > 1e6 && number("roof") > 0.0, "{found}");
    assert_eq!(found["digest"].as_str().unwrap().len(), 64);
    let phases = found["phases"].as_object().unwrap().values();
    let seconds: f64 = phases.map(|phase| phase["seconds_min"].as_f64().unwrap()).sum();
    assert!(seconds > 0.0 && seconds <= least * 1.000_001, "{found}");
    found
}

/// The same with one thread and with two; the former.
fn alike(what: &str, arguments: &[&str]) -> Value {
    let with = |threads| measured(what, &[arguments, &["--threads", threads]].concat());
    let (one, two) = (with("1"), with("2"));
    assert_eq!((&one["threads"], &two["threads"]), (&1.into(), &2.into()));
    assert_eq!(one["digest"], two["digest"], "{what}");
    one
}

#[test]
fn a_rollout_is_the_same_on_one_thread_and_on_two() {
    let found = alike("rollout", &[&TINY[..], &["--group", "2", "--ragged", "--turns", "2"]].concat());
    assert_eq!((&found["shape"], &found["turns"], &found["ragged"]), (&"A".into(), &2.into(), &true.into()));
    // Twice four replies of 4 to 6 tokens.
    assert!((32..=48).contains(&found["tokens"].as_u64().unwrap()), "{found}");
}

#[test]
fn a_step_is_the_same_on_one_thread_and_on_two_and_another_seed_is_another_step() {
    let found = alike("step", &TINY);
    assert_eq!((&found["tokens"], &found["tokens_counted"]), (&56.into(), &"of conversations".into()));
    let other = measured("step", &[&TINY[..], &["--seed", "1"]].concat());
    assert_ne!(found["digest"], other["digest"]);
}

#[test]
fn the_memory_that_is_planned_for_a_step_is_what_it_takes_within_a_quarter() {
    let arguments = ["--shape", "B", "--sequences", "4", "--repeat", "1", "--json"];
    let found = stdout(&expect(0, &mut bench("step", &arguments)));
    let found: Value = serde_json::from_str(found.lines().last().unwrap()).unwrap();
    let bytes = |key: &str| found[key].as_f64().unwrap();
    let share = bytes("planned_bytes") / bytes("peak_rss_bytes");
    assert!((share - 1.0).abs() < 0.25, "{share} of what it takes");
}

#[test]
fn a_reference_policy_costs_a_forward_pass_more() {
    let compared = measured("step", &[&TINY[..], &["--beta", "0.04", "--micro-batch-tokens", "16"]].concat());
    let alone = measured("step", &TINY);
    let share = compared["gflop"].as_f64().unwrap() / alone["gflop"].as_f64().unwrap();
    assert!((share - 4.0 / 3.0).abs() < 1e-9, "{share}");
}

#[test]
fn a_training_step_without_actors_is_the_same_on_one_thread_and_on_two() {
    let found = alike("grpo", &[&TINY[..], &["--group", "4", "--turns", "2"]].concat());
    let phases: Vec<&String> = found["phases"].as_object().unwrap().keys().collect();
    assert_eq!(phases, ["hand_over", "reward", "rollout", "step"]);
}

#[test]
fn log_probabilities_and_credit_are_measured_against_memory() {
    let found = alike("logprob", &["--rows", "40", "--vocab", "300", "--repeat", "2"]);
    assert_eq!((&found["rows"], &found["vocab"]), (&40.into(), &300.into()));
    assert!(found["read_gigabytes_per_second"].as_f64().unwrap() > 0.1, "{found}");
    let credit = measured("advantage", &["--sequences", "16", "--completion", "10", "--repeat", "2"]);
    assert_eq!((&credit["tokens"], &credit["threads"]), (&160.into(), &1.into()));
}

#[test]
fn a_folder_with_nothing_but_dimensions_is_a_shape() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = include_str!("../../assets/tiny/config.json");
    std::fs::write(folder.path().join("config.json"), tiny).unwrap();
    let path = folder.path().to_str().unwrap();
    let told = stdout(&expect(0, bench("rollout", &TINY).args(["--shape", path])));
    assert!(
        told.starts_with(&format!("rollout: {path}, 0.8 million weights; 4 conversations of 8 + 6 tokens")),
        "{told}"
    );
    assert!(told.contains("\n  tokens/s ") && told.contains("\n  machine "), "{told}");
    let own = measured("rollout", &[&TINY[..], &["--shape", "assets/tiny"]].concat());
    let random = measured("rollout", &[&TINY[..], &["--shape", path]].concat());
    assert_ne!(own["digest"], random["digest"], "the folder's own weights");
}

#[test]
fn what_cannot_be_measured_is_refused_with_what_can() {
    let refused = |what: &str, arguments: &[&str]| stderr(&expect(2, &mut bench(what, arguments)));
    assert!(refused("rolout", &[]).contains("similar subcommand exists: 'rollout'"));
    assert!(refused("step", &["--sequence", "4"]).contains("--sequences"));
    let told = refused("step", &["--shape", "b"]);
    assert!(
        told.contains("`A`, `B`, `C`, or a folder with a config.json") && told.contains("`B` was probably meant"),
        "{told}"
    );
    let told = refused("rollout", &["--group", "7"]);
    assert_eq!(told, "error: --group 7 does not divide --sequences 64; these do: 1, 2, 4, 8, 16, 32, 64\n");
    assert!(refused("grpo", &["--group", "1"]).contains("--group must be at least 2"));
    assert!(refused("step", &["--sequences", "1"]).contains("--sequences must be at least 2"));
    assert!(refused("rollout", &["--prompt", "2000"]).contains("the model has room for 2047"));
    assert!(refused("step", &["--beta=-1"]).contains("it must be 0 or more"));
    assert!(refused("rollout", &["--threads", "0"]).contains("--threads"));
}

#[test]
fn ctrl_c_ends_it_at_once() {
    let mut running = Running::start(bench("rollout", &TINY[..6]).args(["--repeat", "1000000"]));
    let pid = running.child.id();
    let listens = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        // Bit n - 1 is signal n; SIGINT is 2.
        u64::from_str_radix(caught, 16).unwrap() & 2 != 0
    };
    while !listens() {
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap().success());
    running.wait_for("interrupted; nothing was measured to its end");
    assert_eq!(running.end().status.code(), Some(130));
}
