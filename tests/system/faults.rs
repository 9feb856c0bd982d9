//! Faults on purpose: they happen as planned, and the run keeps what is guaranteed.

use std::fs;

use stateset_agents::RunFiles;
use stateset_telemetry::Event;

use crate::lab::{Lab, assert_undisturbed, events, expect, small, stateset, stderr, stdout};

/// The faults that happened: which, of what kind, and in how many lines.
fn injected(run: &RunFiles) -> Vec<(u32, String)> {
    let injected = |event: Event| match event {
        Event::FaultInjected { id, kind, .. } => Some((id, kind)),
        _ => None,
    };
    let mut found: Vec<_> = events(run).into_iter().filter_map(|timed| injected(timed.event)).collect();
    found.sort();
    found
}

#[test]
fn faults_of_the_runtime_leave_no_trace_in_the_result() {
    let lab = Lab::new();
    let plan = lab.runs().join("plan.yaml");
    let faults = [
        "step: 0, after: 30, site: conversation, kind: panic",
        "step: 1, after: 2, site: environment, kind: error",
        "step: 1, after: 9, site: to_environment, kind: drop",
        "step: 1, after: 9, site: to_judge, kind: drop",
        "step: 2, after: 3, site: to_learner, kind: duplicate",
        "step: 2, after: 5, site: to_learner, kind: reorder",
        "step: 2, after: 7, site: to_inference, kind: duplicate",
        "step: 3, site: optimizer, kind: panic",
        "step: 3, after: 40, site: engine, kind: error",
        "step: 4, site: store, kind: torn_write",
        "step: 4, after: 50, site: process, kind: kill",
        "step: 4, after: 20, site: clock, kind: clock_jump",
        "step: 5, after: 3, site: judge, kind: slow",
    ];
    let text: String = faults.iter().map(|fault| format!("  - {{{fault}}}\n")).collect();
    fs::write(&plan, format!("faults:\n{text}")).unwrap();
    expect(0, lab.train().arg("--supervise").arg("--faults").arg(&plan));
    assert_undisturbed(&lab.run());
    let ids: Vec<u32> = injected(&lab.run()).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, (0..faults.len() as u32).collect::<Vec<_>>());
    let times: Vec<f64> = events(&lab.run()).iter().map(|timed| timed.seconds).collect();
    assert!(times.is_sorted(), "the clock went back");
}

#[test]
fn a_plan_that_makes_no_sense_is_refused_at_its_line() {
    let lab = Lab::new();
    let plan = lab.runs().join("plan.yaml");
    fs::write(&plan, "faults:\n  - {step: 6, site: judge, kind: kill}\n").unwrap();
    for supervised in [false, true] {
        let mut command = lab.train();
        command.arg("--faults").arg(&plan).args(supervised.then_some("--supervise"));
        let told = stderr(&expect(2, &mut command));
        assert!(told.contains("plan.yaml:2:") && told.contains("there is no kill at `judge`"), "{told}");
        assert!(!lab.runs().join("small").exists(), "a folder was made");
    }
}

#[test]
fn a_run_goes_on_with_its_own_plan_only() {
    let lab = Lab::new();
    let random = |seed: &str| lab.resume().args(["--fault-rate", "0.5", "--fault-seed", seed]).output().unwrap();
    assert!(random("1").status.success());
    let told = random("2");
    assert_eq!(told.status.code(), Some(2));
    assert!(stderr(&told).contains("faults.yaml was another plan and is now this one"), "{}", stderr(&told));
}

#[test]
fn a_run_under_fifty_faults_keeps_every_guarantee() {
    let lab = Lab::new();
    let mut chaos = stateset();
    chaos.arg("chaos").arg(small()).args(["--faults", "50", "--seed", "2", "--output-dir"]).arg(lab.runs());
    let output = expect(0, &mut chaos);
    let told = stdout(&output);
    assert!(told.contains("every guarantee held") && !told.contains("BROKEN"), "{told}");
    assert!(stderr(&output).contains("chaos: supervision.attempts is 53 instead of 3"), "{}", stderr(&output));
    let found = injected(&lab.run());
    assert_eq!(found.len(), 50);
    assert!(found.iter().any(|(_, kind)| kind == "kill"), "{found:?}");
    let verdict: serde_json::Value = serde_json::from_str(&fs::read_to_string(lab.run().verdict()).unwrap()).unwrap();
    assert_eq!(verdict["findings"].as_array().unwrap().len(), 6);
}
