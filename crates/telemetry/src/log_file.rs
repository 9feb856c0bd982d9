//! A file of lines that survives a crash in the middle of one, and does not grow without end.
//!
//! What would make it longer than half its limit opens a new one; the full one becomes the older half (`events.1.jsonl`), in place of
//! the older half before it.

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
    /// The most bytes that it and its older half may take.
    limit: u64,
}

impl LogFile {
    /// Opens `path`, making it and dropping a last line that was cut short by a crash.
    pub(crate) fn open(path: &Path, limit: u64) -> Result<Self, LogError> {
        let whole = read_whole(path)?;
        let open = || {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            file.set_len(whole.len() as u64)?;
            Ok(file)
        };
        Ok(Self { path: path.to_owned(), file: open().map_err(refused("open", path))?, limit })
    }

    /// A file to which every write fails.
    #[cfg(test)]
    pub(crate) fn read_only(path: &Path) -> Self {
        File::create(path).unwrap();
        Self { path: path.to_owned(), file: File::open(path).unwrap(), limit: u64::MAX }
    }

    /// Appends `line` and its newline in one write. What a full disk took of it is cut off again, so that the next line stands alone.
    pub(crate) fn append(&mut self, mut line: String) -> Result<(), LogError> {
        line.push('\n');
        let mut append = || {
            let mut whole = self.file.metadata()?.len();
            if whole > 0 && whole + line.len() as u64 > self.limit / 2 {
                match fs::rename(&self.path, older_half(&self.path)) {
                    // An earlier attempt came this far.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    renamed => renamed?,
                }
                self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
                whole = 0;
            }
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
        let older = older_half(&self.path);
        for half in [&older, &self.path] {
            let lines = read_whole(half)?;
            let kept: String = lines.split_inclusive('\n').filter(|line| keep(line)).collect();
            if kept.len() < lines.len() {
                replace(half, &kept).map_err(refused("rewrite", half))?;
            }
        }
        let open = OpenOptions::new().append(true).open(&self.path);
        self.file = open.map_err(refused("open", &self.path))?;
        Ok(())
    }
}

fn replace(path: &Path, contents: &str) -> io::Result<()> {
    let replacement = path.with_extension("tmp");
    let mut file = File::create(&replacement)?;
    file.write_all(contents.as_bytes())?;
    file.sync_all()?;
    fs::rename(&replacement, path)
}

/// Where the lines are that a log has grown away from.
pub(crate) fn older_half(path: &Path) -> PathBuf {
    path.with_extension("1.jsonl")
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
