//! A run's folder: one owner at a time, and everything a run leaves behind.
//!
//! | File                | What it holds                                              |
//! |---------------------|------------------------------------------------------------|
//! | `config.yaml`       | the configuration as run, defaults and overrides included   |
//! | `domain.yaml`       | the domain as it was                                        |
//! | `data.sha256`       | the digest of the file it learned from, if there was one    |
//! | `auto.json`         | which profile was chosen and why, if one was chosen         |
//! | `metrics.jsonl`     | a line for every optimizer step                             |
//! | `evaluations.jsonl` | a line for every evaluation, sample conversations included  |
//! | `events.jsonl`      | what happened to the runtime, and why                       |
//! | `faults.yaml`       | the faults that were injected on purpose, if any were       |
//! | `verdict.json`      | whether the guarantees held under them                      |
//! | `checkpoints/`      | where the run can go on from                                |
//! | `journal/`          | what was accepted since, so that it need not be done again  |
//! | `summary.json`      | the result                                                  |
//! | `report.html`       | the result, to look at                                      |
//! | `.inspect.sock`     | where the process that runs can be looked into              |
//!
//! `metrics.jsonl` and `events.jsonl` are kept within `run.log_size` each: the older half of a long one is in `metrics.1.jsonl` or
//! `events.1.jsonl`.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A run's folder, locked for as long as this lives.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

/// Why a folder cannot be used.
#[derive(Debug, Error)]
pub enum RunFolderError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process is running in it.
    #[error("{} is in use by another process; wait for it to end, or choose another --output-dir", .0.display())]
    InUse(PathBuf),
    /// It is not a run's folder.
    #[error("{} is not a run: it has no config.yaml", .0.display())]
    NotARun(PathBuf),
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunFolderError {
    let path = path.to_path_buf();
    move |source| RunFolderError::Io { action, path, source }
}

impl RunFolder {
    /// A new folder for a run called `name` under `parent`: `name`, or `name-2`, `name-3`, … if that is taken.
    ///
    /// # Errors
    /// [`RunFolderError`].
    pub fn create(parent: &Path, name: &str) -> Result<Self, RunFolderError> {
        fs::create_dir_all(parent).map_err(io("create", parent))?;
        for candidate in candidates(parent, name) {
            match fs::create_dir(&candidate) {
                Ok(()) => return Self::lock(candidate),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io("create", &candidate)(error)),
            }
        }
        unreachable!("candidates never end")
    }

    /// The newest folder of a run called `name` under `parent`; `None` if there is none. One without `config.yaml` belongs to a
    /// process that was killed before it had begun.
    ///
    /// # Errors
    /// [`RunFolderError::InUse`] if it is being written to.
    pub fn newest(parent: &Path, name: &str) -> Result<Option<Self>, RunFolderError> {
        Self::find(parent, name).map(|files| Self::lock(files.path)).transpose()
    }

    /// Where the newest run called `name` under `parent` is, whoever runs in it.
    #[must_use]
    pub fn find(parent: &Path, name: &str) -> Option<RunFiles> {
        let folders = candidates(parent, name).take_while(|candidate| candidate.is_dir());
        folders.filter_map(|folder| Self::inspect(&folder).ok()).last()
    }

    /// An existing run, only to read from.
    ///
    /// # Errors
    /// [`RunFolderError::NotARun`] if there is none at `path`.
    pub fn inspect(path: &Path) -> Result<RunFiles, RunFolderError> {
        let files = RunFiles { path: path.to_path_buf() };
        if files.config().is_file() { Ok(files) } else { Err(RunFolderError::NotARun(path.to_path_buf())) }
    }

    fn lock(path: PathBuf) -> Result<Self, RunFolderError> {
        let file = path.join(".lock");
        let lock = File::create(&file).map_err(io("create", &file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(RunFolderError::InUse(path)),
            Err(TryLockError::Error(error)) => Err(io("lock", &file)(error)),
        }
    }

    /// Where its files are.
    #[must_use]
    pub fn files(&self) -> RunFiles {
        RunFiles { path: self.path.clone() }
    }
}

fn candidates(parent: &Path, name: &str) -> impl Iterator<Item = PathBuf> {
    let numbered = (2..).map(move |n: u64| parent.join(format!("{name}-{n}")));
    std::iter::once(parent.join(name)).chain(numbered)
}

/// The names of a run's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFiles {
    path: PathBuf,
}

impl RunFiles {
    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.path
    }

    /// `config.yaml`.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path.join("config.yaml")
    }

    /// `auto.json`.
    #[must_use]
    pub fn auto(&self) -> PathBuf {
        self.path.join("auto.json")
    }

    /// `domain.yaml`.
    #[must_use]
    pub fn domain(&self) -> PathBuf {
        self.path.join("domain.yaml")
    }

    /// `data.sha256`.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path.join("data.sha256")
    }

    /// `metrics.jsonl`.
    #[must_use]
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// `evaluations.jsonl`.
    #[must_use]
    pub fn evaluations(&self) -> PathBuf {
        self.path.join("evaluations.jsonl")
    }

    /// `events.jsonl`.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    /// `faults.yaml`.
    #[must_use]
    pub fn faults(&self) -> PathBuf {
        self.path.join("faults.yaml")
    }

    /// `verdict.json`.
    #[must_use]
    pub fn verdict(&self) -> PathBuf {
        self.path.join("verdict.json")
    }

    /// `checkpoints/`.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// `journal/`.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// `summary.json`.
    #[must_use]
    pub fn summary(&self) -> PathBuf {
        self.path.join("summary.json")
    }

    /// `.inspect.sock`, while a process runs.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path.join(".inspect.sock")
    }

    /// `.inspect`: the socket's path, if it is elsewhere.
    #[must_use]
    pub fn socket_elsewhere(&self) -> PathBuf {
        self.path.join(".inspect")
    }

    /// `report.html`.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.path.join("report.html")
    }
}

/// Writes `text` to `path` so that a reader sees all of it or none.
///
/// # Errors
/// [`RunFolderError::Io`].
pub fn write_whole(path: &Path, contents: &(impl AsRef<[u8]> + ?Sized)) -> Result<(), RunFolderError> {
    let temporary = path.with_extension("writing");
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(contents.as_ref())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&temporary, path)).map_err(|source| {
        // Half a file is worth nothing; what cannot even be removed is overwritten by the next attempt.
        let _ = fs::remove_file(&temporary);
        io("write", path)(source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_is_numbered_and_the_newest_is_found_again() {
        let parent = tempfile::tempdir().unwrap();
        let begun = || {
            let folder = RunFolder::create(parent.path(), "night").unwrap();
            write_whole(&folder.files().config(), "").unwrap();
            folder
        };
        let (first, second) = (begun(), begun());
        assert!(second.files().folder().ends_with("night-2"));
        drop((first, second));
        RunFolder::create(parent.path(), "night").unwrap();
        let newest = RunFolder::newest(parent.path(), "night").unwrap().unwrap();
        assert!(newest.files().folder().ends_with("night-2"));
        assert!(RunFolder::newest(parent.path(), "day").unwrap().is_none());
    }

    #[test]
    fn a_folder_has_one_owner() {
        let parent = tempfile::tempdir().unwrap();
        let owner = RunFolder::create(parent.path(), "night").unwrap();
        write_whole(&owner.files().config(), "").unwrap();
        let error = RunFolder::newest(parent.path(), "night").unwrap_err();
        assert!(error.to_string().contains("in use by another process"), "{error}");
    }
}
