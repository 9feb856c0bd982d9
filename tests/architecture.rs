//! The walls of the house: who may depend on whom, as drawn in `docs/architecture.md`, and what a policy may never do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A row of the table of floors.
struct Drawn {
    wing: String,
    uses: Vec<String>,
}

const DRAWING: &str = "docs/architecture.md";
const NUMERICS: [&str; 2] = ["candle", "safetensors"];
const CONCURRENCY: [&str; 4] = ["tokio", "ractor", "axum", "hyper"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The drawn crates, by folder: rows of the form ``| `folder` | wing | `folder`, `folder` |``.
fn drawing() -> BTreeMap<String, Drawn> {
    let text = fs::read_to_string(root().join(DRAWING)).unwrap();
    let table = text.split("\n## Floors").nth(1).expect("there are floors").split("\n## ").next().unwrap();
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [folder, wing, _, uses] = cells[..] else { panic!("a row of {DRAWING} has four cells: {row}") };
        (quoted(folder)[0].clone(), Drawn { wing: wing.to_owned(), uses: quoted(uses) })
    })
    .collect()
}

/// What a crate needs to be built, tests left out.
struct Needed {
    name: String,
    /// The folder, if it is one of ours.
    folder: Option<String>,
}

/// The crates there are, by folder.
fn crates() -> BTreeMap<String, Vec<Needed>> {
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let metadata: Value = serde_json::from_slice(&cargo.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let needed = |it: &Value| Needed {
        name: text(&it["name"]),
        folder: it["path"].as_str().map(|path| folder(Path::new(path))),
    };
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let needs = dependencies.filter(|it| it["kind"] != "dev").map(needed).collect();
            (folder(Path::new(&text(&package["manifest_path"])).parent().unwrap()), needs)
        })
        .collect()
}

fn folder(path: &Path) -> String {
    let folder = path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned();
    if folder.is_empty() { "src".to_owned() } else { folder }
}

#[test]
fn the_arrows_between_crates_are_those_that_are_drawn() {
    let (drawing, crates) = (drawing(), crates());
    let mut wrong = Vec::new();
    for (name, needs) in &crates {
        let Some(drawn) = drawing.get(name) else {
            wrong.push(format!("{name} is not drawn"));
            continue;
        };
        let used: Vec<&String> = needs.iter().filter_map(|needed| needed.folder.as_ref()).collect();
        let undrawn = used.iter().filter(|to| !drawn.uses.contains(to));
        wrong.extend(undrawn.map(|to| format!("{name} -> {to} is in {name}'s Cargo.toml, but not drawn")));
        let unused = drawn.uses.iter().filter(|to| !used.contains(to));
        wrong.extend(unused.map(|to| format!("{name} -> {to} is drawn, but not in {name}'s Cargo.toml")));
    }
    let gone = drawing.keys().filter(|name| !crates.contains_key(*name));
    wrong.extend(gone.map(|name| format!("{name} is drawn, but not there")));
    assert!(wrong.is_empty(), "{DRAWING} and the manifests differ:\n  {}", wrong.join("\n  "));
}

#[test]
fn the_wings_meet_only_where_they_are_put_together() {
    let mut wrong = Vec::new();
    for (name, needs) in crates() {
        let wing = drawing().remove(&name).map_or_else(|| panic!("{name} is not drawn"), |drawn| drawn.wing);
        let forbidden: Vec<&str> = match wing.as_str() {
            "concurrency" if !name.starts_with("crates/") => NUMERICS.to_vec(),
            "concurrency" | "ground" => [NUMERICS.as_slice(), &CONCURRENCY].concat(),
            "numerics" => CONCURRENCY.to_vec(),
            "composition" | "tests" => Vec::new(),
            wing => panic!("{DRAWING} puts {name} into {wing}, which is no wing"),
        };
        let strays = needs.iter().filter(|needed| forbidden.iter().any(|stem| needed.name.starts_with(stem)));
        wrong.extend(strays.map(|stray| format!("{name} ({wing}) needs {}, see its Cargo.toml", stray.name)));
    }
    assert!(wrong.is_empty(), "numerics and concurrency are kept apart:\n  {}", wrong.join("\n  "));
}

#[test]
fn a_policy_reads_no_clock_starts_nothing_and_knows_no_actors() {
    let forbidden = ["Instant::now", "SystemTime::now", "spawn(", "spawn_blocking(", "tokio", "ractor"];
    let (mut wrong, mut policies) = (Vec::new(), 0);
    for file in sources(root()).filter(|file| file.iter().any(|part| part == "policy")) {
        policies += 1;
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (number, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            wrong.extend(
                forbidden
                    .iter()
                    .filter(|word| line.contains(**word))
                    .map(|word| format!("{}:{}: {word}", file.strip_prefix(root()).unwrap().display(), number + 1)),
            );
        }
    }
    assert!(policies >= 8, "only {policies} files under a policy/ folder were found");
    assert!(wrong.is_empty(), "a policy is a function of its arguments:\n  {}", wrong.join("\n  "));
}

/// Every source file that is not a test.
fn sources(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let skip = |name: &str| name.starts_with('.') || ["target", "tests", "runs", "tests.rs"].contains(&name);
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_name().to_string_lossy() {
                name if skip(&name) => {}
                _ if entry.path().is_dir() => folders.push(entry.path()),
                name if name.ends_with(".rs") => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.into_iter()
}
