//! What `validate` says of runs that cannot be, and what `graph` draws of one that can.

use crate::lab::{expect, here, stateset, stderr, stdout};

/// What is said of a file in `broken/`.
fn told(name: &str) -> String {
    let output = expect(2, stateset().current_dir(here().join("broken")).args(["validate", name]));
    assert_eq!(stdout(&output), "");
    stderr(&output)
}

#[test]
fn a_file_that_is_not_yaml() {
    insta::assert_snapshot!(told("malformed.yaml"));
}

#[test]
fn values_of_the_wrong_type() {
    insta::assert_snapshot!(told("types.yaml"));
}

#[test]
fn keys_that_do_not_exist() {
    insta::assert_snapshot!(told("unknown.yaml"));
}

#[test]
fn values_that_make_no_sense() {
    insta::assert_snapshot!(told("impossible.yaml"));
}

#[test]
fn a_tree_that_cannot_stand() {
    insta::assert_snapshot!(told("topology.yaml"));
}

#[test]
fn files_that_are_not_there() {
    insta::assert_snapshot!(told("missing.yaml"));
}

#[test]
fn what_cannot_be_run_cannot_be_trained_either() {
    for name in ["malformed.yaml", "types.yaml", "unknown.yaml", "impossible.yaml", "missing.yaml", "topology.yaml"] {
        let output = expect(2, stateset().current_dir(here().join("broken")).args(["train", name]));
        assert_eq!(stderr(&output), told(name));
        assert!(!here().join("broken/runs").exists(), "{name} left a folder behind");
    }
}

fn drawn(format: &str) -> String {
    stdout(&expect(0, stateset().current_dir(here()).args(["graph", "small.yaml", "--format", format])))
}

#[test]
fn the_actors_in_mermaid() {
    insta::assert_snapshot!(drawn("mermaid"));
}

#[test]
fn the_actors_for_graphviz() {
    insta::assert_snapshot!(drawn("dot"));
}
