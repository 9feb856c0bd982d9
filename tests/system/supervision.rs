//! `--supervise`: a process that dies is started again, and the result is that of a run that did not.

use std::process::Command;

use stateset_telemetry::{Event, ExitCause};

use crate::lab::{Lab, Running, assert_undisturbed, events, expect, stderr};

fn send(signal: &str, process: &str) {
    assert!(Command::new("kill").args([signal, process]).status().unwrap().success());
}

/// Waits for the next worker, and returns its process id.
fn worker(running: &mut Running) -> String {
    let said = running.wait_for("supervise: process ");
    said.split_whitespace().nth(2).unwrap().to_owned()
}

fn is_alive(process: &str) -> bool {
    // Status 0 of a process that exists; a zombie does not count as alive.
    std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn supervised(lab: &Lab, settings: &[&str]) -> Running {
    let mut command = lab.train();
    command.args(["--supervise", "--log-level", "debug"]);
    settings.iter().for_each(|setting| {
        command.args(["--set", setting]);
    });
    Running::start(&mut command)
}

#[test]
fn a_worker_that_is_killed_thrice_comes_to_the_same_result() {
    let lab = Lab::new();
    let mut running = supervised(&lab, &["supervision.backoff.max=100ms"]);
    for words in ["rollout begins step=1", "optimizer step begins step=3", "checkpoint begins step=4"] {
        let process = worker(&mut running);
        running.wait_for(words);
        send("-KILL", &process);
    }
    assert_eq!(running.end().status.code(), Some(0));
    assert_undisturbed(&lab.run());
    let restarted = |event: &Event| match event {
        Event::WorkerRestarted { exit, attempt, .. } => Some((exit.clone(), *attempt)),
        _ => None,
    };
    let restarts: Vec<_> = events(&lab.run()).iter().filter_map(|timed| restarted(&timed.event)).collect();
    let killed = || "was killed (signal 9)".to_owned();
    assert_eq!(restarts, [(killed(), 1), (killed(), 2), (killed(), 3)]);
}

#[test]
fn a_worker_that_refuses_is_not_started_again() {
    let lab = Lab::after_the_run();
    let told = stderr(&expect(2, lab.resume().args(["--supervise", "--seed", "4"])));
    assert!(told.contains("run.seed was 0 and is now 4"), "{told}");
    assert_eq!(told.matches("supervise: process").count(), 1, "{told}");
}

#[test]
fn too_many_restarts_are_the_end_and_it_says_why() {
    let lab = Lab::new();
    let mut running = supervised(&lab, &["supervision.restarts.max=1", "supervision.backoff.max=50ms"]);
    for _ in 0..2 {
        let process = worker(&mut running);
        running.wait_for("rollout begins");
        send("-KILL", &process);
    }
    running.wait_for("error: the worker was killed (signal 9), which is once too often: 1 restarts within 60s");
    assert_eq!(running.end().status.code(), Some(1));
    let last = events(&lab.run()).pop().unwrap().event;
    let Event::Escalated { supervisor, cause: ExitCause::Error(cause), .. } = &last else { panic!("{last:?}") };
    assert_eq!((supervisor.as_str(), cause.as_str()), ("supervise", "was killed (signal 9)"));
}

#[test]
fn an_interruption_reaches_the_worker_and_no_process_is_left() {
    let lab = Lab::new();
    let mut running = supervised(&lab, &[]);
    let (parent, process) = (running.child.id().to_string(), worker(&mut running));
    running.wait_for("rollout begins step=2");
    send("-INT", &parent);
    assert_eq!(running.end().status.code(), Some(130));
    assert!(!is_alive(&process));
    expect(0, &mut lab.resume());
    assert_undisturbed(&lab.run());
}

#[test]
#[cfg(target_os = "linux")]
fn a_worker_does_not_outlive_its_parent() {
    let lab = Lab::new();
    let mut running = supervised(&lab, &[]);
    let process = worker(&mut running);
    running.wait_for("rollout begins");
    running.child.kill().unwrap();
    // The pipe closes when the last process that holds it has ended.
    running.end();
    assert!(!is_alive(&process));
    expect(0, &mut lab.resume());
    assert_undisturbed(&lab.run());
}
