//! The comparison with the Python stack can be read by what runs it, and adds up. It takes too long to be run here.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers")
}

fn files(ending: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<PathBuf> = all.filter(|path| path.extension().is_some_and(|it| it == ending)).collect();
    assert!(!found.is_empty(), "no *.{ending} in {}", folder().display());
    found
}

/// Whether `program` is there; says so if it is not.
fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("skipped: {program} is not there");
    }
    there
}

fn succeeds(command: &mut Command) {
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn scripts_are_valid_bash() {
    if is_there("bash") {
        for script in files("sh") {
            succeeds(Command::new("bash").arg("-n").arg(script));
        }
    }
}

#[test]
fn programs_are_valid_python() {
    if is_there("python3") {
        let parse = "import ast, sys; [ast.parse(open(path).read(), path) for path in sys.argv[1:]]";
        succeeds(Command::new("python3").args(["-c", parse]).args(files("py")));
    }
}

#[test]
fn a_sample_of_measurements_comes_to_its_table() {
    if is_there("python3") {
        succeeds(Command::new("python3").arg(folder().join("summary.py")).arg("--check"));
    }
}
