//! Checkpoints on disk: `step-NNNNNN/`, wholly there or not there at all.
//!
//! Files are written into a folder with a temporary name and flushed; a manifest with the size and SHA-256 of each comes last; then the
//! folder is renamed and its parent flushed. A reader verifies the manifest before it believes anything.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use stateset_domain::{Artifact, Checkpoint, Fence, Progress, Store, StoreError};

/// Checkpoints of one run.
#[derive(Debug)]
pub struct CheckpointFolder {
    root: PathBuf,
    keep: usize,
    /// Asked before anything becomes visible or is removed.
    fence: Fence,
}

const MANIFEST: &str = "manifest.json";
const PREFIX: &str = "step-";
const TEMPORARY: &str = ".writing-";

/// What a whole checkpoint holds.
#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    progress: Progress,
    files: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    name: String,
    bytes: u64,
    sha256: String,
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Io { action, path, source }
}

fn corrupt(path: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::Corrupt { path: path.to_path_buf(), reason: reason.into() }
}

impl CheckpointFolder {
    /// The checkpoints under `root`, which is made if need be; the newest `keep` stay. Leftovers of interrupted writes are removed.
    /// `fence` is asked before each file is written and before anything becomes visible.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(root: impl Into<PathBuf>, keep: usize, fence: Fence) -> Result<Self, StoreError> {
        let store = Self { root: root.into(), keep: keep.max(1), fence };
        fs::create_dir_all(&store.root).map_err(io("create", &store.root))?;
        for name in store.names()?.iter().filter(|name| name.starts_with(TEMPORARY)) {
            let path = store.root.join(name);
            fs::remove_dir_all(&path).map_err(io("remove", &path))?;
        }
        Ok(store)
    }

    /// The checkpoints under `root`, only to read from: another process may be writing there.
    #[must_use]
    pub fn reader(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), keep: usize::MAX, fence: Fence::alone() }
    }

    /// Where the checkpoint of `step` is kept.
    #[must_use]
    pub fn path(&self, step: u64) -> PathBuf {
        self.root.join(format!("{PREFIX}{step:06}"))
    }

    fn fenced(&self) -> Result<(), StoreError> {
        let (mine, now) = (self.fence.epoch(), self.fence.now());
        if mine == now { Ok(()) } else { Err(StoreError::Fenced { path: self.root.clone(), mine, now }) }
    }

    /// Leaves behind what a write of `checkpoint` leaves that is cut short in its first file. For fault injection.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn tear(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let folder = self.root.join(format!("{TEMPORARY}{:06}", checkpoint.progress.step));
        fs::create_dir_all(&folder).map_err(io("create", &folder))?;
        let Some(Artifact { name, bytes }) = checkpoint.artifacts.first() else { return Ok(()) };
        write_synced(&folder.join(name), &bytes[..bytes.len() / 2])
    }

    fn names(&self) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(io("list", &self.root))? {
            names.push(entry.map_err(io("list", &self.root))?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    /// Steps of whole checkpoints, oldest first.
    fn steps(&self) -> Result<Vec<u64>, StoreError> {
        let names = self.names()?;
        let mut steps: Vec<u64> = names.iter().filter_map(|name| name.strip_prefix(PREFIX)?.parse().ok()).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    fn write_all(&self, folder: &Path, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        fs::create_dir_all(folder).map_err(io("create", folder))?;
        let mut files = Vec::new();
        for Artifact { name, bytes } in &checkpoint.artifacts {
            self.fenced()?;
            write_synced(&folder.join(name), bytes)?;
            files.push(Entry { name: name.clone(), bytes: bytes.len() as u64, sha256: sha256(bytes) });
        }
        let manifest = Manifest { format: 1, progress: checkpoint.progress.clone(), files };
        let path = folder.join(MANIFEST);
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| corrupt(&path, error.to_string()))?;
        self.fenced()?;
        write_synced(&path, &text)?;
        sync_folder(folder)
    }

    /// Drops what is beyond the retention limit, but never the two newest healthy checkpoints: they are the way back, and the newest one
    /// may not be far enough.
    fn prune(&self) -> Result<(), StoreError> {
        let steps = self.steps()?;
        let old = &steps[..steps.len().saturating_sub(self.keep)];
        if old.is_empty() {
            return Ok(());
        }
        let newest = self.newest_healthy(&steps)?;
        let before: Vec<u64> =
            steps.iter().copied().filter(|step| newest.is_some_and(|newest| *step < newest)).collect();
        let way_back = [newest, self.newest_healthy(&before)?];
        self.remove(old.iter().filter(|step| !way_back.contains(&Some(**step))))
    }

    fn newest_healthy(&self, steps: &[u64]) -> Result<Option<u64>, StoreError> {
        for step in steps.iter().rev() {
            if manifest(&self.path(*step))?.progress.healthy {
                return Ok(Some(*step));
            }
        }
        Ok(None)
    }

    fn remove<'a>(&self, steps: impl Iterator<Item = &'a u64>) -> Result<(), StoreError> {
        for step in steps {
            let path = self.path(*step);
            fs::remove_dir_all(&path).map_err(io("remove", &path))?;
        }
        Ok(())
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = File::create(path).map_err(io("create", path))?;
    file.write_all(bytes).map_err(io("write", path))?;
    file.sync_all().map_err(io("flush", path))
}

fn sync_folder(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io("flush", path))
}

impl Store for CheckpointFolder {
    fn save(&mut self, checkpoint: &Checkpoint) -> Result<PathBuf, StoreError> {
        let step = checkpoint.progress.step;
        let (temporary, path) = (self.root.join(format!("{TEMPORARY}{step:06}")), self.path(step));
        if let Err(error) = self.write_all(&temporary, checkpoint) {
            if self.fence.holds() {
                // The half-written folder is worth nothing; if it cannot be removed either, the next `open` will.
                let _ = fs::remove_dir_all(&temporary);
            }
            return Err(error);
        }
        self.fenced()?;
        if path.exists() {
            // The same step again, after a rewind: same seed, same content.
            fs::remove_dir_all(&path).map_err(io("replace", &path))?;
        }
        fs::rename(&temporary, &path).map_err(io("rename", &temporary))?;
        sync_folder(&self.root)?;
        self.prune()?;
        Ok(path)
    }

    fn latest(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.steps()?.last().map(|step| read(&self.path(*step))).transpose()
    }

    fn oldest(&self) -> Result<Option<u64>, StoreError> {
        Ok(self.steps()?.first().copied())
    }

    fn latest_healthy(&self, at_most: u64) -> Result<Option<Checkpoint>, StoreError> {
        let steps: Vec<u64> = self.steps()?.into_iter().filter(|step| *step <= at_most).collect();
        self.newest_healthy(&steps)?.map(|step| read(&self.path(step))).transpose()
    }

    fn forget_after(&mut self, step: u64) -> Result<(), StoreError> {
        self.remove(self.steps()?.iter().rev().filter(|later| **later > step))?;
        sync_folder(&self.root)
    }
}

/// A file that was written and is gone is damage, not trouble with the file system.
fn read_file(path: &Path) -> Result<Vec<u8>, StoreError> {
    fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => corrupt(path, "it is missing"),
        _ => io("read", path)(error),
    })
}

fn manifest(folder: &Path) -> Result<Manifest, StoreError> {
    let path = folder.join(MANIFEST);
    let text = read_file(&path)?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| corrupt(&path, error.to_string()))?;
    if manifest.format != 1 {
        return Err(corrupt(&path, format!("format {} is not one this version reads (1)", manifest.format)));
    }
    Ok(manifest)
}

/// Reads and verifies one checkpoint.
fn read(folder: &Path) -> Result<Checkpoint, StoreError> {
    let manifest = manifest(folder)?;
    let mut artifacts = Vec::new();
    for entry in &manifest.files {
        let path = folder.join(&entry.name);
        let bytes = read_file(&path)?;
        if bytes.len() as u64 != entry.bytes {
            return Err(corrupt(&path, format!("it has {} bytes, {} were written", bytes.len(), entry.bytes)));
        }
        if sha256(&bytes) != entry.sha256 {
            return Err(corrupt(&path, "its SHA-256 is not that of what was written"));
        }
        artifacts.push(Artifact { name: entry.name.clone(), bytes });
    }
    Ok(Checkpoint { progress: manifest.progress, artifacts })
}
