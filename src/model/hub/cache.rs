//! The cache's layout, which is that of Hugging Face's own programs: what they have downloaded need not be downloaded again.
//!
//! ```text
//! models--org--name/refs/main                                the commit that `main` was when it was last asked for
//!                   blobs/<checksum>                         a file's contents; `.incomplete` until they are whole
//!                   snapshots/<commit>/model.safetensors     -> ../../blobs/<checksum>
//! .locks/models--org--name/<checksum>.lock                   held by whoever downloads it
//! ```

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use stateset_models::{REQUIRED, WEIGHTS, WEIGHTS_INDEX, read_index};

use super::super::name::Repo;
use super::error::HubError;
use super::listing::{Listed, is_checksum};

/// The part of the cache for one repository at one revision.
pub(super) struct Cache {
    folder: PathBuf,
    locks: PathBuf,
    revision: String,
}

impl Cache {
    pub(super) fn new(cache: &Path, repo: &Repo) -> Self {
        let name = format!("models--{}", repo.id.replace('/', "--"));
        Self { folder: cache.join(&name), locks: cache.join(".locks").join(&name), revision: repo.revision.clone() }
    }

    /// The folder of `commit`.
    pub(super) fn folder(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The file `name` of `commit`.
    pub(super) fn file(&self, commit: &str, name: &str) -> PathBuf {
        self.folder(commit).join(name)
    }

    /// Where contents with this checksum are.
    pub(super) fn blob(&self, checksum: &str) -> PathBuf {
        self.folder.join("blobs").join(checksum)
    }

    /// Waits until nobody else downloads what has this checksum.
    pub(super) fn lock(&self, checksum: &str) -> Result<File, HubError> {
        create(&self.locks)?;
        let path = self.locks.join(format!("{checksum}.lock"));
        let file = File::create(&path).map_err(HubError::disk("create", &path))?;
        file.lock().map_err(HubError::disk("lock", &path))?;
        Ok(file)
    }

    /// Makes `file`, whose contents are there, a file of `commit`.
    pub(super) fn link(&self, commit: &str, file: &Listed) -> Result<(), HubError> {
        let (folder, path) = (self.folder(commit), self.file(commit, &file.name));
        if path.exists() {
            return Ok(());
        }
        create(&folder)?;
        if path.is_symlink() {
            // It leads nowhere.
            fs::remove_file(&path).map_err(HubError::disk("replace", &path))?;
        }
        symlink(Path::new("../../blobs").join(&file.blob), &path).map_err(HubError::disk("create", &path))
    }

    /// Remembers that the revision is `commit`, all of which is there.
    pub(super) fn name(&self, commit: &str) -> Result<(), HubError> {
        if self.revision == commit {
            return Ok(());
        }
        let path = self.folder.join("refs").join(&self.revision);
        create(path.parent().expect("it is in a folder"))?;
        fs::write(&path, commit).map_err(HubError::disk("write", &path))
    }

    /// The folder of the revision as it was last seen, or what is missing of it.
    pub(super) fn snapshot(&self) -> Result<PathBuf, String> {
        let commit = match is_checksum(&self.revision) {
            true => self.revision.clone(),
            false => {
                let seen = fs::read_to_string(self.folder.join("refs").join(&self.revision));
                let commit = seen.map(|commit| commit.trim().to_owned()).ok();
                commit.filter(|it| is_checksum(it)).ok_or_else(|| format!("{} was never downloaded", self.revision))?
            }
        };
        let there = |name: &str| self.file(&commit, name).exists();
        let lacks = |name: &str| format!("{name} is missing");
        if let Some(name) = REQUIRED.into_iter().find(|name| !there(name)) {
            return Err(lacks(name));
        }
        if !there(WEIGHTS) {
            let index = fs::read(self.file(&commit, WEIGHTS_INDEX)).map_err(|_| lacks(WEIGHTS))?;
            let index = read_index(&index).map_err(|error| format!("{WEIGHTS_INDEX}: {error}"))?;
            if let Some(shard) = index.values().find(|shard| !there(shard)) {
                return Err(lacks(shard));
            }
        }
        Ok(self.folder(&commit))
    }
}

fn create(folder: &Path) -> Result<(), HubError> {
    fs::create_dir_all(folder).map_err(HubError::disk("create", folder))
}
