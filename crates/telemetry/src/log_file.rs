//! A file of lines that survives a crash in the middle of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a log could not be written or read.
#[derive(Debug, Error)]
pub enum LogError {
    /// The file system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A whole line is not what was written.
    #[error("{path}:{line} is damaged: {source}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// An append-only file of whole lines.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    /// Opens `path`, making it and dropping a last line that was cut short by a crash.
    pub(crate) fn open(path: &Path) -> Result<Self, LogError> {
        let whole = read_whole(path)?;
        let open = || {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            file.set_len(whole.len() as u64)?;
            Ok(file)
        };
        Ok(Self { path: path.to_owned(), file: open().map_err(refused("open", path))? })
    }

    /// A file to which every write fails.
    #[cfg(test)]
    pub(crate) fn read_only(path: &Path) -> Self {
        File::create(path).unwrap();
        Self { path: path.to_owned(), file: File::open(path).unwrap() }
    }

    /// Appends `line` and its newline in one write. What a full disk took of it is cut off again, so that the next line stands alone.
    pub(crate) fn append(&mut self, mut line: String) -> Result<(), LogError> {
        line.push('\n');
        let append = || {
            let whole = self.file.metadata()?.len();
            (&self.file).write_all(line.as_bytes()).inspect_err(|_| drop(self.file.set_len(whole)))
        };
        append().map_err(refused("append to", &self.path))
    }

    /// Makes sure that every line survives the machine.
    pub(crate) fn sync(&self) -> Result<(), LogError> {
        self.file.sync_data().map_err(refused("flush", &self.path))
    }

    /// Keeps only the lines that `keep` wants. The old contents stay if anything fails.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) -> Result<(), LogError> {
        let kept: String = read_whole(&self.path)?.split_inclusive('\n').filter(|line| keep(line)).collect();
        let replacement = self.path.with_extension("jsonl.tmp");
        let rewrite = || {
            let mut file = File::create(&replacement)?;
            file.write_all(kept.as_bytes())?;
            file.sync_all()?;
            fs::rename(&replacement, &self.path)?;
            OpenOptions::new().append(true).open(&self.path)
        };
        self.file = rewrite().map_err(refused("rewrite", &self.path))?;
        Ok(())
    }
}

/// The contents up to the last newline; empty if there is no file.
pub(crate) fn read_whole(path: &Path) -> Result<String, LogError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(refused("read", path)(error)),
    };
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    String::from_utf8(bytes[..whole].to_vec())
        .map_err(|error| refused("read", path)(io::Error::new(io::ErrorKind::InvalidData, error)))
}

fn refused<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> LogError + use<'a> {
    move |source| LogError::Io { action, path: path.to_owned(), source }
}
