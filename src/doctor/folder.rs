//! Whether runs can be kept in a folder: found out by writing and locking a file there, as a run does.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Where runs go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Folder {
    /// As it was given.
    pub(super) path: PathBuf,
    /// Whether it is there. If not, a run creates it.
    pub(super) exists: bool,
    /// Why nothing can be kept there.
    pub(super) refused: Option<String>,
    /// Bytes that its disk has left.
    pub(super) free: Option<u64>,
}

impl Folder {
    /// Tries `path`, or the nearest folder above it that is there, and leaves nothing behind.
    pub(super) fn look(path: &Path) -> Self {
        // A link that leads nowhere is there, and in the way.
        let there = |path: &&Path| path.symlink_metadata().is_ok();
        let ground = path.ancestors().find(there).unwrap_or(Path::new("."));
        let free = rustix::fs::statvfs(ground).ok().map(|disk| disk.f_bavail * disk.f_frsize);
        let refused = try_out(ground).err().map(|error| error.to_string());
        Self { path: path.to_owned(), exists: there(&path), refused, free }
    }
}

fn try_out(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!(".stateset-doctor-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let kept = file.write_all(b"0").and_then(|()| Ok(file.try_lock()?));
    fs::remove_file(&path).and(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_a_run_would_create_is_tried_above_and_nothing_is_left() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::look(&parent.path().join("far/below"));
        assert_eq!((folder.exists, &folder.refused), (false, &None));
        assert!(folder.free.unwrap() > 0);
        assert!(Folder::look(parent.path()).exists);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_in_the_way_is_said() {
        let parent = tempfile::tempdir().unwrap();
        let (file, link) = (parent.path().join("file"), parent.path().join("link"));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        for (taken, why) in
            [(&file, "Not a directory"), (&file.join("runs"), "Not a directory"), (&link, "No such file")]
        {
            let refused = Folder::look(taken).refused.unwrap();
            assert!(refused.starts_with(why), "{}: {refused}", taken.display());
        }
    }
}
