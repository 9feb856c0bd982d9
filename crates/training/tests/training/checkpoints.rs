//! Checkpoints on disk: wholly there, or refused.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stateset_domain::{
    Artifact, Checkpoint, EpisodeCounts, Fence, Learner, PolicySnapshot, Progress, Store, StoreError,
};
use stateset_training::CheckpointFolder;
use tempfile::TempDir;

use crate::learner;

fn checkpoint(step: u64, contents: &str) -> Checkpoint {
    let file = |name: &str, bytes: &[u8]| Artifact { name: name.into(), bytes: bytes.to_vec() };
    let episodes = EpisodeCounts { started: 9, completed: 8, failed: 1, duplicated: 0 };
    Checkpoint {
        progress: Progress { seed: 3, step, episodes, policy_digest: PolicySnapshot::digest_of(&[]), healthy: true },
        artifacts: vec![file("model.safetensors", contents.as_bytes()), file("empty", b"")],
    }
}

/// A folder with the checkpoints of `steps`.
fn folder(keep: usize, steps: impl IntoIterator<Item = u64>) -> (TempDir, CheckpointFolder) {
    let root = tempfile::tempdir().unwrap();
    let mut store = CheckpointFolder::open(root.path(), keep, Fence::alone()).unwrap();
    for step in steps {
        assert_eq!(store.save(&checkpoint(step, "weights")).unwrap(), store.path(step));
    }
    (root, store)
}

fn names(root: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Why the newest checkpoint is refused once `damage` was done to its folder.
fn refused(damage: impl FnOnce(&Path)) -> String {
    let (_root, store) = folder(3, [1, 2]);
    damage(&store.path(2));
    match store.latest() {
        Err(StoreError::Corrupt { path, reason }) => {
            assert!(path.starts_with(store.path(2)), "{}", path.display());
            reason
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_saved_comes_back() {
    let (root, store) = folder(3, [1]);
    assert_eq!(store.latest().unwrap(), Some(checkpoint(1, "weights")));
    let opened_again = CheckpointFolder::open(root.path(), 3, Fence::alone()).unwrap();
    assert_eq!(opened_again.latest().unwrap(), Some(checkpoint(1, "weights")));
}

#[test]
fn a_writer_that_was_replaced_commits_nothing() {
    let (root, epoch) = (tempfile::tempdir().unwrap(), Arc::new(AtomicU64::new(1)));
    let mut zombie = CheckpointFolder::open(root.path(), 1, Fence::new(epoch.clone(), 1)).unwrap();
    zombie.save(&checkpoint(1, "weights")).unwrap();
    epoch.store(2, Ordering::SeqCst);
    let mut heir = CheckpointFolder::open(root.path(), 1, Fence::new(epoch, 2)).unwrap();
    assert!(matches!(zombie.save(&checkpoint(2, "other")), Err(StoreError::Fenced { mine: 1, now: 2, .. })));
    assert_eq!(heir.latest().unwrap(), Some(checkpoint(1, "weights")), "nothing was written, and nothing removed");
    heir.save(&checkpoint(2, "weights")).unwrap();
    assert_eq!(names(root.path()), ["step-000001", "step-000002"], "a way back stays beside the newest");
    assert_eq!(heir.latest().unwrap(), Some(checkpoint(2, "weights")));
}

#[test]
fn an_empty_folder_has_no_checkpoint() {
    assert_eq!(folder(3, []).1.latest().unwrap(), None);
}

#[test]
fn the_newest_ones_stay() {
    let (root, store) = folder(2, [8, 9, 10, 11]);
    assert_eq!(names(root.path()), ["step-000010", "step-000011"]);
    assert_eq!(store.latest().unwrap().unwrap().progress.step, 11);
}

#[test]
fn the_newest_healthy_ones_stay_however_many_unhealthy_ones_follow() {
    let (root, mut store) = folder(2, [1, 2, 3]);
    for step in [4, 5, 6] {
        let mut ill = checkpoint(step, "weights");
        ill.progress.healthy = false;
        store.save(&ill).unwrap();
    }
    assert_eq!(names(root.path()), ["step-000002", "step-000003", "step-000005", "step-000006"]);
    let healthy =
        |store: &CheckpointFolder, at_most| store.latest_healthy(at_most).unwrap().map(|kept| kept.progress.step);
    assert_eq!((healthy(&store, 6), healthy(&store, 2), healthy(&store, 1)), (Some(3), Some(2), None));
    store.forget_after(3).unwrap();
    assert_eq!(names(root.path()), ["step-000002", "step-000003"]);
    assert_eq!(store.latest().unwrap().unwrap().progress.step, 3);
}

#[test]
fn the_same_step_saved_twice_is_what_was_saved_last() {
    let (root, mut store) = folder(3, [1, 2]);
    store.save(&checkpoint(2, "other weights")).unwrap();
    assert_eq!(store.latest().unwrap(), Some(checkpoint(2, "other weights")));
    assert_eq!(names(root.path()), ["step-000001", "step-000002"]);
}

#[test]
fn a_newest_checkpoint_that_is_damaged_is_refused_and_no_older_one_passed_off_for_it() {
    let file = "model.safetensors";
    let cut = refused(|folder| fs::write(folder.join(file), "weig").unwrap());
    assert!(cut.contains("4 bytes, 7 were written"), "{cut}");
    assert!(refused(|folder| fs::write(folder.join(file), "wejghts").unwrap()).contains("SHA-256"));
    assert!(refused(|folder| fs::remove_file(folder.join(file)).unwrap()).contains("missing"));
    assert!(refused(|folder| fs::remove_file(folder.join("manifest.json")).unwrap()).contains("missing"));
    refused(|folder| fs::write(folder.join("manifest.json"), "{").unwrap());
    let newer = |folder: &Path| {
        let path = folder.join("manifest.json");
        let text = fs::read_to_string(&path).unwrap().replace("\"format\": 1", "\"format\": 2");
        fs::write(path, text).unwrap();
    };
    assert!(refused(newer).contains("format 2"));
}

#[test]
fn leftovers_of_an_interrupted_write_are_never_read_and_removed_at_opening() {
    let (root, store) = folder(3, [1]);
    fs::create_dir(root.path().join(".writing-000002")).unwrap();
    fs::write(root.path().join(".writing-000002/model.safetensors"), "half").unwrap();
    assert_eq!(store.latest().unwrap().unwrap().progress.step, 1);
    CheckpointFolder::open(root.path(), 3, Fence::alone()).unwrap();
    assert_eq!(names(root.path()), ["step-000001"]);
}

#[test]
fn a_write_that_fails_leaves_the_older_checkpoints() {
    let (root, mut store) = folder(1, [1]);
    let mut impossible = checkpoint(2, "weights");
    impossible.artifacts[1].name = "no/such/folder".into();
    assert!(matches!(store.save(&impossible), Err(StoreError::Io { .. })));
    assert_eq!(names(root.path()), ["step-000001"]);
    assert_eq!(store.latest().unwrap(), Some(checkpoint(1, "weights")));
}

#[test]
fn a_learner_goes_through_a_checkpoint_unchanged() {
    let (_root, mut store) = folder(1, []);
    let mut trained = learner(|_| {});
    trained.step(&crate::groups()).unwrap();
    let saved = Checkpoint { artifacts: trained.save().unwrap(), ..checkpoint(1, "") };
    store.save(&saved).unwrap();
    let mut restored = learner(|_| {});
    restored.restore(&store.latest().unwrap().unwrap().artifacts).unwrap();
    assert_eq!(restored.snapshot().unwrap().digest(), trained.snapshot().unwrap().digest());
}
