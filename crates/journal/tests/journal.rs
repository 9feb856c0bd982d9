//! What a journal keeps, what it refuses, and what it forgets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use stateset_domain::{
    Durability, Entry, EpisodeId, FailureKind, GroupId, Journal, Purpose, Record, StoreError, Trajectory,
};
use stateset_journal::JournalFolder;
use tempfile::{TempDir, tempdir};

const SEGMENT: u64 = 4096;

fn open(folder: &TempDir) -> JournalFolder {
    JournalFolder::open(folder.path(), SEGMENT).unwrap()
}

fn accepted(step: u64, member: u32, tokens: usize) -> Entry {
    let group = GroupId { purpose: Purpose::Train, step, index: 0 };
    let mut trajectory = Trajectory::new(EpisodeId { group, member }, "scenario");
    trajectory.push_context(stateset_domain::Role::User, &vec![7; tokens]);
    Entry { timeline: 0, record: Record::EpisodeAccepted(Box::new(trajectory)) }
}

fn consumed(step: u64) -> Entry {
    Entry { timeline: 0, record: Record::BatchConsumed { step, episodes: Vec::new() } }
}

fn append(journal: &mut JournalFolder, entries: &[Entry]) {
    journal.append(entries, Durability::Process).unwrap();
}

fn entries(journal: &mut JournalFolder) -> Vec<Entry> {
    journal.replay(0).unwrap().entries
}

/// The segments, oldest first.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == "journal")).collect();
    segments.sort();
    segments
}

fn bytes_on_disk(folder: &Path) -> u64 {
    segments(folder).iter().map(|path| fs::metadata(path).unwrap().len()).sum()
}

#[test]
fn what_is_appended_is_read_again_in_order_over_any_number_of_writers() {
    let folder = tempdir().unwrap();
    let mut written = Vec::new();
    for step in 1..=5 {
        let mut journal = open(&folder);
        assert_eq!(entries(&mut journal), written);
        let more: Vec<Entry> = (0..40).map(|member| accepted(step, member, 20)).chain([consumed(step)]).collect();
        more.iter().for_each(|entry| append(&mut journal, std::slice::from_ref(entry)));
        written.extend(more);
        assert_eq!(entries(&mut journal), written);
    }
    assert!(segments(folder.path()).len() > 5, "one writer fills several segments");
    let late = open(&folder).replay(4).unwrap().entries;
    assert_eq!(late, written[4 * 41..]);
}

#[test]
fn an_entry_that_was_half_written_is_cut_off_and_counted() {
    for lost in [1, 5, 9, 20] {
        let folder = tempdir().unwrap();
        let mut journal = open(&folder);
        append(&mut journal, &[consumed(1), accepted(2, 0, 30)]);
        let path = segments(folder.path()).remove(0);
        let length = fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length - lost).unwrap();
        let mut journal = open(&folder);
        let replay = journal.replay(0).unwrap();
        assert_eq!(replay.entries, [consumed(1)]);
        assert!(replay.torn_bytes > 0);
        append(&mut journal, &[consumed(3)]);
        assert_eq!(entries(&mut open(&folder)), [consumed(1), consumed(3)]);
    }
}

#[test]
fn a_last_entry_with_a_wrong_checksum_or_a_tail_of_zeros_is_cut_off() {
    for garble in [|bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1, |bytes: &mut Vec<u8>| bytes.extend([0; 100])]
    {
        let folder = tempdir().unwrap();
        append(&mut open(&folder), &[consumed(1), consumed(2), accepted(2, 0, 30)]);
        let path = segments(folder.path()).remove(0);
        let mut bytes = fs::read(&path).unwrap();
        garble(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let replay = open(&folder).replay(0).unwrap();
        assert_eq!(replay.entries[..2], [consumed(1), consumed(2)]);
        assert!(replay.torn_bytes > 0);
    }
}

#[test]
fn damage_before_a_whole_entry_is_refused_by_file_and_place() {
    let folder = tempdir().unwrap();
    append(&mut open(&folder), &[accepted(1, 0, 30), accepted(1, 1, 30), accepted(1, 2, 30)]);
    let path = segments(folder.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&path, bytes).unwrap();
    let refused = JournalFolder::open(folder.path(), SEGMENT).unwrap_err().to_string();
    assert!(refused.contains("000001-e1.journal is damaged: at byte "), "{refused}");
    assert!(refused.ends_with("the checksum of an entry is wrong"), "{refused}");
}

#[test]
fn a_segment_that_is_missing_or_shorter_than_it_was_is_refused() {
    let make = || {
        let folder = tempdir().unwrap();
        let mut journal = open(&folder);
        (0..200).for_each(|member| append(&mut journal, &[accepted(1, member, 30)]));
        folder
    };
    let folder = make();
    fs::remove_file(&segments(folder.path())[1]).unwrap();
    let refused = JournalFolder::open(folder.path(), SEGMENT).unwrap_err().to_string();
    assert!(refused.contains("000001-e1.journal") && refused.contains("segment 2 should follow"), "{refused}");
    let folder = make();
    let path = segments(folder.path()).remove(1);
    let length = fs::metadata(&path).unwrap().len();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
    let refused = JournalFolder::open(folder.path(), SEGMENT).unwrap_err().to_string();
    assert!(refused.contains("000002-e1.journal is damaged"), "{refused}");
}

#[test]
fn an_older_writer_is_told_at_its_next_commit_and_nothing_it_appends_is_read() {
    let folder = tempdir().unwrap();
    let mut old = open(&folder);
    append(&mut old, &[consumed(1)]);
    let mut new = open(&folder);
    append(&mut old, &[consumed(66)]);
    append(&mut new, &[consumed(2)]);
    let fenced = old.append(&[consumed(67)], Durability::Power).unwrap_err();
    assert!(matches!(fenced, StoreError::Fenced { mine: 1, now: 2, .. }), "{fenced}");
    new.append(&[consumed(3)], Durability::Power).unwrap();
    assert_eq!(entries(&mut new), [consumed(1), consumed(2), consumed(3)]);
    assert_eq!(entries(&mut open(&folder)), [consumed(1), consumed(2), consumed(3)]);
}

#[test]
fn an_older_writer_cannot_begin_a_segment() {
    let folder = tempdir().unwrap();
    let mut old = open(&folder);
    let mut new = open(&folder);
    append(&mut new, &[consumed(1)]);
    let fenced = old.append(&[consumed(66)], Durability::Process).unwrap_err();
    assert!(matches!(fenced, StoreError::Fenced { mine: 1, now: 2, .. }), "{fenced}");
    assert_eq!(entries(&mut open(&folder)), [consumed(1)]);
}

#[test]
fn a_segment_of_another_version_is_refused_by_its_number() {
    let folder = tempdir().unwrap();
    append(&mut open(&folder), &[consumed(1)]);
    let path = segments(folder.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let length = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
    bytes[8] = 9;
    let checksum = crc32fast::hash(&bytes[8..8 + length]);
    bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let refused = JournalFolder::open(folder.path(), SEGMENT).unwrap_err().to_string();
    assert!(refused.ends_with("at byte 0: its format is version 9, and this program reads 3"), "{refused}");
}

#[test]
fn what_was_forgotten_leaves_the_disk_and_the_journal_stays_bounded() {
    let folder = tempdir().unwrap();
    let mut journal = open(&folder);
    let mut most = 0;
    for step in 1..=60 {
        (0..16).for_each(|member| append(&mut journal, &[accepted(step, member, 60)]));
        append(&mut journal, &[consumed(step)]);
        journal.forget(step.saturating_sub(3)).unwrap();
        most = most.max(bytes_on_disk(folder.path()));
    }
    let step_bytes = 16 * 60 * 8;
    assert!(most < 4 * step_bytes + 2 * SEGMENT, "{most} bytes");
    let replay = journal.replay(57).unwrap().entries;
    assert_eq!(replay.iter().filter(|entry| matches!(entry.record, Record::BatchConsumed { .. })).count(), 3);
    assert_eq!(open(&folder).replay(57).unwrap().entries, replay);
}

fn entry() -> impl Strategy<Value = Entry> {
    let failure = prop_oneof![".*".prop_map(FailureKind::Judge), Just(FailureKind::Abandoned)];
    let id = |step, member| EpisodeId { group: GroupId { purpose: Purpose::Train, step, index: 1 }, member };
    prop_oneof![
        (1..9_u64, 0..4_u32, 0..50_usize).prop_map(|(step, member, tokens)| accepted(step, member, tokens)),
        (1..9_u64, 0..4_u32, failure).prop_map(move |(step, member, failure)| Entry {
            timeline: 3,
            record: Record::EpisodeFailed { episode: id(step, member), attempts: 2, failure },
        }),
        (1..9_u64).prop_map(consumed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_journal_cut_anywhere_holds_a_prefix_of_what_was_written(
        written in prop::collection::vec(entry(), 1..12),
        cut in 0.0..1.0_f64,
    ) {
        let folder = tempdir().unwrap();
        let mut journal = JournalFolder::open(folder.path(), 1 << 20).unwrap();
        written.iter().for_each(|entry| append(&mut journal, std::slice::from_ref(entry)));
        let path = segments(folder.path()).remove(0);
        let length = fs::metadata(&path).unwrap().len();
        let kept = (cut * length as f64) as u64;
        OpenOptions::new().write(true).open(&path).unwrap().set_len(kept).unwrap();
        let found = entries(&mut open(&folder));
        prop_assert!(written.starts_with(&found));
        prop_assert!(kept < length || found.len() == written.len());
    }
}
