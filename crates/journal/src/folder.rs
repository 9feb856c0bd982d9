//! The journal of one run: a folder of segments, one of which is being written.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use stateset_domain::{Durability, Entry, Journal, Record, Replay, StoreError};

use crate::codec;
use crate::fence::Fence;
use crate::record::{Item, Opened};
use crate::segment::{self, Read, Segment, Torn, corrupt, io, sync_folder};

/// A journal on disk.
#[derive(Debug)]
pub struct JournalFolder {
    root: PathBuf,
    /// A segment takes no more entries once it is this long.
    segment_bytes: u64,
    fence: Fence,
    /// Oldest first; the last one is being written, if `writing` says so.
    segments: Vec<Segment>,
    writing: Option<Writing>,
    torn_bytes: u64,
}

/// The end of the last segment.
#[derive(Debug)]
struct Writing {
    file: File,
    /// The last write failed, and may have left something behind.
    dirty: bool,
}

impl JournalFolder {
    /// Opens the journal under `root`, which is made if need be, and shuts out whoever had it open before. An entry that was only half
    /// written is cut off. Segments are about `segment_bytes` long.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], by file and place, if anything but the very end is not what was written.
    pub fn open(root: impl Into<PathBuf>, segment_bytes: u64) -> Result<Self, StoreError> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(io("create", &root))?;
        let files = list(&root)?;
        let epoch = files.iter().filter_map(|path| segment::parse(path)).map(|(_, epoch)| epoch).max().unwrap_or(0);
        // Raised before anything is read: what an earlier writer appends after this does not count.
        let fence = Fence::raise(&root, epoch + 1)?;
        let (segments, torn_bytes) = scan(succession(files))?;
        Ok(Self { root, segment_bytes, fence, segments, writing: None, torn_bytes })
    }

    fn begin_segment(&mut self) -> Result<(), StoreError> {
        let (sequence, sealed) = self.segments.last().map_or((1, 0), |last| (last.opened.sequence + 1, last.length));
        let opened = Opened { sequence, epoch: self.fence.epoch(), sealed };
        let path = self.root.join(segment::name(opened));
        let mut bytes = Vec::new();
        codec::write(&Item::Opened(opened), &mut bytes).map_err(|reason| corrupt(&path, reason))?;
        let created = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
        let mut file = created.map_err(io("create", &path))?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io("write", &path))?;
        sync_folder(&self.root)?;
        self.fence.stands()?;
        self.segments.push(Segment { path, opened, length: bytes.len() as u64, newest: 0 });
        self.writing = Some(Writing { file, dirty: false });
        Ok(())
    }

    /// The segment to append to, begun if need be.
    fn current(&mut self) -> Result<(&mut Segment, &mut Writing), StoreError> {
        if let (Some(last), Some(writing)) = (self.segments.last(), &self.writing)
            && last.length >= self.segment_bytes
        {
            writing.file.sync_data().map_err(io("flush", &last.path))?;
            self.writing = None;
        }
        if self.writing.is_none() {
            self.begin_segment()?;
        }
        let begun = "a segment was just begun";
        Ok((self.segments.last_mut().expect(begun), self.writing.as_mut().expect(begun)))
    }
}

impl Journal for JournalFolder {
    fn append(&mut self, entries: &[Entry], durability: Durability) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        for entry in entries {
            let item = Item::Entry(entry.clone());
            codec::write(&item, &mut bytes).map_err(|reason| corrupt(&self.root, reason))?;
        }
        let (segment, writing) = self.current()?;
        writing.append(&bytes, durability, segment.length).map_err(io("append to", &segment.path))?;
        segment.length += bytes.len() as u64;
        segment.newest = entries.iter().map(|entry| entry.record.step()).fold(segment.newest, u64::max);
        match durability {
            Durability::Process => Ok(()),
            Durability::Power => self.fence.stands(),
        }
    }

    fn replay(&mut self, step: u64) -> Result<Replay, StoreError> {
        let mut entries = Vec::new();
        let wanted = |record: &Record| record.step() > step || matches!(record, Record::RunRestored { .. });
        for segment in &self.segments {
            let Some(read) = segment::read(&segment.path, segment.length)? else {
                return Err(corrupt(&segment.path, "at byte 0: its first entry is gone"));
            };
            if let Some(torn) = &read.torn {
                return Err(damage(&read, torn));
            }
            entries.extend(read.entries.into_iter().filter(|entry| wanted(&entry.record)));
        }
        Ok(Replay { entries, torn_bytes: std::mem::take(&mut self.torn_bytes) })
    }

    fn forget(&mut self, step: u64) -> Result<(), StoreError> {
        let written = usize::from(self.writing.is_some());
        let finished = &self.segments[..self.segments.len() - written];
        let old = finished.iter().take_while(|segment| segment.newest <= step).count();
        for segment in self.segments.drain(..old) {
            fs::remove_file(&segment.path).map_err(io("remove", &segment.path))?;
        }
        Ok(())
    }
}

impl Writing {
    /// Writes at `length`, the end of what counts, or leaves everything as it was.
    fn append(&mut self, bytes: &[u8], durability: Durability, length: u64) -> std::io::Result<()> {
        if self.dirty {
            self.cut(length)?;
        }
        self.dirty = true;
        let written = self.file.write_all(bytes).and_then(|()| match durability {
            Durability::Process => Ok(()),
            Durability::Power => self.file.sync_data(),
        });
        match written {
            Ok(()) => self.dirty = false,
            // If this fails too the next append tries again, before it writes.
            Err(_) => drop(self.cut(length)),
        }
        written
    }

    fn cut(&mut self, length: u64) -> std::io::Result<()> {
        self.file.set_len(length)?;
        self.file.seek(SeekFrom::Start(length))?;
        self.dirty = false;
        Ok(())
    }
}

fn list(root: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root).map_err(io("list", root))? {
        files.push(entry.map_err(io("list", root))?.path());
    }
    Ok(files)
}

/// The segments in order, without those that a writer began after it had been shut out.
fn succession(files: Vec<PathBuf>) -> Vec<(u64, PathBuf)> {
    let named = files.into_iter().filter_map(|path| Some((segment::parse(&path)?, path)));
    let mut named: Vec<((u64, u64), PathBuf)> = named.collect();
    named.sort();
    let mut kept: Vec<((u64, u64), PathBuf)> = Vec::new();
    for (place, path) in named {
        let (sequence, epoch) = place;
        if kept.last().is_some_and(|((_, last), _)| *last > epoch) {
            continue;
        }
        kept.pop_if(|((last, _), _)| *last == sequence);
        kept.push((place, path));
    }
    kept.into_iter().map(|((sequence, _), path)| (sequence, path)).collect()
}

/// Reads every segment, each up to where the next one says that it ends, and cuts off what is torn at the end of the last.
fn scan(files: Vec<(u64, PathBuf)>) -> Result<(Vec<Segment>, u64), StoreError> {
    let (mut segments, mut torn_bytes): (Vec<Segment>, u64) = (Vec::new(), 0);
    let mut sealed = u64::MAX;
    for (place, (sequence, path)) in files.iter().enumerate().rev() {
        let last = place + 1 == files.len();
        let Some(read) = segment::read(path, sealed)? else {
            if last {
                // Its writer ended while it began the segment.
                fs::remove_file(path).map_err(io("remove", path))?;
                continue;
            }
            return Err(corrupt(path, "at byte 0: its first entry is not whole"));
        };
        if segments.first().is_some_and(|next| next.opened.sequence != sequence + 1) {
            return Err(corrupt(path, format!("segment {} should follow it, and is missing", sequence + 1)));
        }
        match &read.torn {
            Some(torn) if torn.inside || sealed != u64::MAX => return Err(damage(&read, torn)),
            Some(torn) => torn_bytes += cut(&read.segment, torn)?,
            None if sealed != u64::MAX && read.segment.length < sealed => {
                let (at, reason) =
                    (read.segment.length, format!("its last {} bytes are gone", sealed - read.segment.length));
                return Err(corrupt(path, format!("at byte {at}: {reason}")));
            }
            None => {}
        }
        sealed = read.segment.opened.sealed;
        segments.insert(0, read.segment);
    }
    Ok((segments, torn_bytes))
}

fn cut(segment: &Segment, torn: &Torn) -> Result<u64, StoreError> {
    let file = OpenOptions::new().write(true).open(&segment.path).map_err(io("open", &segment.path))?;
    file.set_len(segment.length).and_then(|()| file.sync_all()).map_err(io("cut", &segment.path))?;
    Ok(torn.bytes)
}

fn damage(read: &Read, torn: &Torn) -> StoreError {
    corrupt(&read.segment.path, format!("at byte {}: {}", read.segment.length, torn.reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_append_that_failed_leaves_nothing_behind_for_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment");
        fs::write(&path, "kept").unwrap();
        // A handle that cannot write fails to append, and to undo what it did.
        let mut writing = Writing { file: File::open(&path).unwrap(), dirty: false };
        assert!(writing.append(b"lost", Durability::Process, 4).is_err());
        assert!(writing.dirty);
        fs::write(&path, "kept and half an ent").unwrap();
        writing.file = OpenOptions::new().write(true).open(&path).unwrap();
        writing.append(b"+whole", Durability::Power, 4).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "kept+whole");
    }
}
