//! Ctrl-C saves, says so, and can be gone on from.

use std::process::Command;

use stateset_agents::read_result;

use crate::lab::{Lab, Running, assert_undisturbed, checkpoints, expect, stdout};

#[test]
fn an_interrupted_run_ends_saved_and_resumes_as_if_it_had_not_been() {
    let lab = Lab::new();
    let mut running = Running::start(&mut lab.train());
    running.wait_for("step    3/6");
    let pid = running.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = running.end();
    assert_eq!(output.status.code(), Some(130));
    assert!(stdout(&output).contains("interrupted; the same command with --resume goes on from here"));

    let summary = read_result(&lab.run()).unwrap();
    assert!((3..6).contains(&summary.steps), "{summary:?}");
    assert!(summary.base.is_some() && summary.trained.is_none(), "{summary:?}");
    assert_eq!(checkpoints(&lab.run()).last().unwrap(), &format!("step-{:06}", summary.steps));

    expect(0, &mut lab.resume());
    assert_undisturbed(&lab.run());
}
