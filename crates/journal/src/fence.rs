//! Who may write: the epoch of the writer that came last.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use stateset_domain::StoreError;

use crate::segment::{corrupt, io, sync_folder};

/// The file that every writer writes its epoch to when it opens the journal, and reads again before it trusts what it wrote.
#[derive(Debug)]
pub(crate) struct Fence {
    path: PathBuf,
    mine: u64,
}

impl Fence {
    /// Shuts out every earlier writer. The epoch is above that of the last one, and not below `least`.
    pub(crate) fn raise(root: &Path, least: u64) -> Result<Self, StoreError> {
        let path = root.join("fence");
        let mine = least.max(read(&path)? + 1);
        let temporary = root.join(format!(".fence-{mine}"));
        let mut file = File::create(&temporary).map_err(io("create", &temporary))?;
        writeln!(file, "{mine}").map_err(io("write", &temporary))?;
        file.sync_all().map_err(io("flush", &temporary))?;
        fs::rename(&temporary, &path).map_err(io("rename", &temporary))?;
        sync_folder(root)?;
        Ok(Self { path, mine })
    }

    /// The epoch of this writer.
    pub(crate) fn epoch(&self) -> u64 {
        self.mine
    }

    /// Whether nobody has opened the journal since. Asked after a write, this means that whoever does will find what was written.
    pub(crate) fn stands(&self) -> Result<(), StoreError> {
        let (mine, now) = (self.mine, read(&self.path)?);
        if now == mine { Ok(()) } else { Err(StoreError::Fenced { path: self.path.clone(), mine, now }) }
    }
}

fn read(path: &Path) -> Result<u64, StoreError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(io("read", path)(error)),
    };
    text.trim().parse().map_err(|_| corrupt(path, format!("it holds {text:?} and not an epoch")))
}
