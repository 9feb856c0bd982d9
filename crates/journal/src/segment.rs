//! One file of the journal.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use stateset_domain::{Entry, StoreError};

use crate::codec::{self, Frame};
use crate::record::{Item, Opened};

/// A segment that was read, and how much of it counts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) opened: Opened,
    /// Bytes that count.
    pub(crate) length: u64,
    /// The latest step that an entry in it is part of; 0 if there is none.
    pub(crate) newest: u64,
}

/// A segment and all that was found in its file.
pub(crate) struct Read {
    pub(crate) segment: Segment,
    pub(crate) entries: Vec<Entry>,
    /// Why its end could not be read, if it could not.
    pub(crate) torn: Option<Torn>,
}

/// What follows the last whole frame of a file.
pub(crate) struct Torn {
    pub(crate) bytes: u64,
    pub(crate) reason: &'static str,
    /// A whole frame follows: this is no unfinished write.
    pub(crate) inside: bool,
}

/// The name of a segment.
pub(crate) fn name(opened: Opened) -> String {
    format!("{:06}-e{}.journal", opened.sequence, opened.epoch)
}

/// Sequence and epoch of the segment at `path`, if it is one.
pub(crate) fn parse(path: &Path) -> Option<(u64, u64)> {
    let (sequence, epoch) = path.file_name()?.to_str()?.strip_suffix(".journal")?.split_once("-e")?;
    Some((sequence.parse().ok()?, epoch.parse().ok()?))
}

/// Reads at most `limit` bytes of the segment at `path`. `None` if not even its first frame is whole.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<Read>, StoreError> {
    let mut bytes = fs::read(path).map_err(io("read", path))?;
    bytes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let (mut at, mut opened, mut entries, mut torn) = (0, None, Vec::new(), None);
    loop {
        match codec::read::<Item>(&bytes[at..]) {
            Frame::End => break,
            Frame::Whole(item, length) => {
                match (item, at) {
                    (Item::Opened(header), 0) => opened = Some(header),
                    (Item::Entry(entry), 1..) => entries.push(entry),
                    _ => return Err(corrupt(path, format!("at byte {at}: no such entry belongs there"))),
                }
                at += length;
            }
            Frame::Broken(reason) => {
                let rest = &bytes[at..];
                torn = Some(Torn { bytes: rest.len() as u64, reason, inside: codec::any_whole(&rest[1..]) });
                break;
            }
            Frame::Unreadable(reason) => return Err(corrupt(path, format!("at byte {at}: {reason}"))),
        }
    }
    let Some(opened) = opened else {
        return match torn {
            Some(Torn { inside: true, reason, .. }) => Err(corrupt(path, format!("at byte 0: {reason}"))),
            Some(_) | None => Ok(None),
        };
    };
    let newest = entries.iter().map(|entry| entry.record.step()).max().unwrap_or(0);
    Ok(Some(Read { segment: Segment { path: path.into(), opened, length: at as u64, newest }, entries, torn }))
}

pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Io { action, path, source }
}

pub(crate) fn corrupt(path: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::Corrupt { path: path.to_path_buf(), reason: reason.into() }
}

pub(crate) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io("flush", path))
}
