//! What the documentation says is there, is there.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use stateset_agents::config::{
    ActorNode, Backoff, Config, CoolOff, Judge, Lora, Pool, Pretraining, Restarts, Shutdown, SupervisorNode,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The README and everything under `docs/`.
fn pages() -> Vec<PathBuf> {
    let markdown = |folder: &str| {
        let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect::<Vec<_>>()
    };
    [markdown("."), markdown("docs"), markdown("docs/decisions")].concat()
}

/// The cells of every row of the tables in `section`.
fn rows(page: &str, section: &str) -> Vec<Vec<String>> {
    let section =
        page.split(&format!("\n## {section}\n")).nth(1).expect("the section exists").split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()).collect()
}

/// Every value of `settings`, by the path of its key.
fn leaves(settings: &impl Serialize) -> BTreeMap<String, Value> {
    fn walk(path: &str, value: Value, found: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(entries) if !entries.is_empty() => entries.into_iter().for_each(|(key, value)| {
                walk(&if path.is_empty() { key } else { format!("{path}.{key}") }, value, found);
            }),
            leaf => drop(found.insert(path.to_owned(), leaf)),
        }
    }
    let mut found = BTreeMap::new();
    walk("", serde_json::to_value(settings).unwrap(), &mut found);
    found
}

fn assert_described(section: &str, settings: &impl Serialize) {
    let read = |default: &str| serde_json::from_str(default).unwrap_or_else(|_| Value::from(default));
    let described: BTreeMap<String, Value> =
        rows(&text("docs/running.md"), section).into_iter().map(|row| (row[1].clone(), read(&row[2]))).collect();
    let there = leaves(settings);
    for key in there.keys().chain(described.keys()) {
        assert_eq!(
            described.get(key),
            there.get(key),
            "docs/running.md (left) and the defaults (right) differ in {key}"
        );
    }
}

/// A topology with one supervisor and one actor, both called `NAME`, whatever they have by default.
fn topology() -> Value {
    let intensity = Some(Restarts::default());
    let (pool, shutdown) = (Some(Pool::default()), Some(Shutdown::default()));
    let actor = ActorNode { pool, shutdown, intensity: intensity.clone(), ..ActorNode::default() };
    let (backoff, cool_off) = (Some(Backoff::default()), Some(CoolOff::default()));
    let supervisor = SupervisorNode { intensity, backoff, cool_off, ..SupervisorNode::default() };
    serde_json::json!({"topology": {"supervisors": {"NAME": supervisor}, "actors": {"NAME": actor}}})
}

#[test]
fn every_key_is_described_with_its_default() {
    assert_described("Every key of a run", &Config::default());
    assert_described("Every key of a judge", &Judge::default());
    assert_described("Every key of an adapter", &Lora::default());
    assert_described("Every key of a topology", &topology());
    assert_described("Every key of a pre-training", &Pretraining::default());
}

#[test]
fn every_guarantee_names_tests_that_exist() {
    let page = text("docs/semantics.md");
    let guarantees: Vec<&str> = page.split("\n## S").skip(1).collect();
    for (index, guarantee) in guarantees.iter().enumerate() {
        assert!(
            guarantee.starts_with(&format!("{} · ", index + 1)),
            "guarantees are numbered in order: {guarantee:.40}"
        );
        let tests: Vec<&str> = guarantee.lines().filter(|line| line.starts_with("- `")).collect();
        assert!(!tests.is_empty(), "S{} names no test", index + 1);
        for line in tests {
            let [_, name, _, file, _] = line.split('`').collect::<Vec<_>>()[..] else {
                panic!("not `test` in `file`: {line}")
            };
            assert!(text(file).contains(&format!("fn {name}(")), "S{}: there is no {name} in {file}", index + 1);
        }
    }
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = text(&page);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.starts_with("http")) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let linked = page.parent().unwrap().join(path);
            assert!(linked.exists(), "{} links to {target}", page.display());
            let heading = |line: &str| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            let found = || {
                fs::read_to_string(&linked)
                    .unwrap()
                    .lines()
                    .any(|line| line.starts_with('#') && heading(line) == anchor)
            };
            assert!(anchor.is_empty() || found(), "{} links to {target}", page.display());
        }
    }
}

#[test]
fn every_command_is_one_that_is_run() {
    let ci = text(".ci/run");
    for page in pages() {
        for block in text(&page).split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned())
        {
            for line in block.lines() {
                let command =
                    line.strip_prefix("$ ").unwrap_or_else(|| panic!("{}: not a command: {line}", page.display()));
                let toured = ["README.md", "docs/running.md"].iter().any(|toured| page.ends_with(toured));
                assert!(
                    toured && ci.contains("README.md docs/running.md"),
                    "{}: .ci/run does not run {command}",
                    page.display()
                );
            }
        }
    }
}
