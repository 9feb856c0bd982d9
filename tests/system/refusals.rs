//! What cannot be done is refused with the reason, and leaves everything as it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use stateset_agents::RunFolder;

use crate::lab::{Lab, expect, stateset, stderr};

/// Every file below `folder`, with its contents.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Damages the newest checkpoint's `file`, and expects a resumption to name it and touch nothing.
fn assert_told(file: &str, damage: impl Fn(&mut Vec<u8>), reason: &str) {
    let lab = Lab::after_the_run();
    let path = lab.run().checkpoints().join("step-000006").join(file);
    let mut bytes = fs::read(&path).unwrap();
    damage(&mut bytes);
    fs::write(&path, bytes).unwrap();
    let before = contents(lab.runs());
    let told = stderr(&expect(1, &mut lab.resume()));
    assert!(told.contains(path.to_str().unwrap()) && told.contains(reason), "{told}");
    assert!(contents(lab.runs()) == before, "the folder was touched");
    let told = stderr(&expect(1, stateset().arg("evaluate").arg(lab.run().folder())));
    assert!(told.contains(path.to_str().unwrap()) && told.contains(reason), "{told}");
}

#[test]
fn a_run_that_does_not_fit_its_memory_budget_is_refused_with_its_plan_and_one_that_does_shows_it() {
    let lab = Lab::new();
    let sets = |budget: &str| ["--set".to_owned(), format!("training.memory_budget={budget}")];
    let told = stderr(&expect(2, lab.train().args(sets("1MiB"))));
    let wanted = "error: `training.memory_budget` is too small for this model: a training step takes ";
    assert!(told.starts_with(wanted) && told.contains("at the least, and may take 1.0 MB\n"), "{told}");
    assert!(told.contains("  optimizer ") && told.contains("with activation checkpointing"), "{told}");
    let told = stderr(&expect(2, lab.train().args(sets("1GiB")).args(["--set", "training.micro_batch_tokens=64"])));
    assert!(told.contains("`training.micro_batch_tokens` is 64") && told.contains("leave one of them out"), "{told}");
    let told = stderr(&expect(0, lab.train().args(sets("1GiB")).args(["--set", "training.steps=1"])));
    let at = |words: &str| told.find(words).unwrap_or_else(|| panic!("no {words} in {told}"));
    assert!(at("memory, by training.memory_budget:") < at("  in all "), "{told}");
}

#[test]
fn a_truncated_checkpoint_is_named() {
    let halve = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    assert_told("optimizer.safetensors", halve, "bytes");
    assert_told("manifest.json", halve, "EOF");
}

#[test]
fn a_checkpoint_that_was_tampered_with_is_named() {
    let flip = |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1;
    assert_told("model.safetensors", flip, "its SHA-256 is not that of what was written");
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let lab = Lab::after_the_run();
    let _owner = RunFolder::newest(lab.runs(), "small").unwrap().unwrap();
    let told = stderr(&expect(2, &mut lab.resume()));
    assert!(told.contains("small is in use by another process"), "{told}");
}

#[test]
fn a_run_is_only_resumed_as_itself() {
    let lab = Lab::after_the_run();
    let before = contents(lab.runs());
    let told = stderr(&expect(2, lab.resume().args(["--seed", "4", "--set", "training.learning_rate=1e-3"])));
    assert!(told.contains("small was started with another configuration:"), "{told}");
    assert!(told.contains("run.seed was 0 and is now 4") && told.contains("training.learning_rate was"), "{told}");
    assert!(contents(lab.runs()) == before, "the folder was touched");
}

#[test]
fn a_file_in_the_way_of_the_output_is_named() {
    let lab = Lab::new();
    let file = lab.runs().join("runs");
    fs::write(&file, "").unwrap();
    let told = stderr(&expect(1, lab.train().args(["--set", &format!("run.output_dir={}", file.display())])));
    assert!(told.starts_with(&format!("error: cannot create {}", file.display())), "{told}");
}

#[test]
fn a_model_that_is_not_there_is_named() {
    let lab = Lab::new();
    let told = stderr(&expect(2, lab.train().args(["--model-name", "./models/none"])));
    assert!(told.contains("there is no folder `./models/none`"), "{told}");
}

#[test]
fn a_key_that_does_not_exist_is_told_from_the_one_that_was_meant() {
    let lab = Lab::new();
    let told = stderr(&expect(2, lab.train().args(["--set", "training.step=3"])));
    assert!(told.contains("unknown key `step` in `training`") && told.contains("did you mean `steps`?"), "{told}");
    assert_eq!(fs::read_dir(lab.runs()).unwrap().count(), 0, "a folder was made");
}

#[test]
fn a_folder_without_a_run_cannot_be_used() {
    let lab = Lab::new();
    for command in ["evaluate", "chat"] {
        let told = stderr(&expect(2, stateset().arg(command).arg(lab.runs())));
        assert!(told.contains("is not a run: it has no config.yaml"), "{told}");
    }
}

#[test]
fn a_run_without_a_checkpoint_cannot_be_evaluated() {
    let lab = Lab::after_the_run();
    fs::remove_dir_all(lab.run().checkpoints()).unwrap();
    let told = stderr(&expect(1, stateset().arg("evaluate").arg(lab.run().folder())));
    assert!(told.contains("small has no checkpoint yet"), "{told}");
}
