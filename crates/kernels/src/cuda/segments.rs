//! Which tokens see which, as kernels look it up.

use std::cmp::Reverse;
use std::ops::Range;

use super::array::{Array, Element};
use super::device::{Device, DeviceError};
use crate::Segment;

/// Queries or keys of a block, as in `cu/attention.cu`.
pub(super) const TILE: usize = 64;

/// Queries that follow one another in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct QueryBlock {
    first: u32,
    count: u32,
    /// Where its segment begins.
    own: u32,
    /// Where the segment's parent begins, and how many tokens that has.
    parent: u32,
    before: u32,
}

/// Keys that follow one another in a segment, and which of the runs see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct KeyBlock {
    first: u32,
    count: u32,
    runs: [u32; 2],
}

/// Tokens that follow one another, whichever segments they belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Run {
    first: u32,
    end: u32,
}

macro_rules! elements {
    ($($type:ty = $kind:literal),+) => {
        $(
            // SAFETY: numbers of 32 bits, without a gap; every pattern of bits is one.
            #[allow(unsafe_code)]
            unsafe impl Element for $type {
                const KIND: u8 = $kind;
            }
        )+
    };
}

elements!(QueryBlock = b'a', KeyBlock = b'k', Run = b'n');

/// Packed segments, cut into blocks. The same for every layer and every shape of heads, so made once for a batch.
#[derive(Debug)]
pub struct Segments<D: Device> {
    pub(super) tokens: usize,
    pub(super) queries: Array<D, QueryBlock>,
    pub(super) keys: Array<D, KeyBlock>,
    pub(super) runs: Array<D, Run>,
}

impl<D: Device> Segments<D> {
    /// Segments that lie end to end in the order of `segments`.
    ///
    /// # Errors
    /// [`DeviceError::Driver`].
    ///
    /// # Panics
    /// If a parent does not come before its child or has a parent itself, or there are 2^32 tokens.
    pub fn new(device: &D, segments: &[Segment]) -> Result<Self, DeviceError> {
        let rows = rows(segments);
        let (keys, runs) = keys(segments, &rows);
        Ok(Self {
            tokens: rows.last().map_or(0, |rows| rows.end as usize),
            queries: Array::from_slice(device, &queries(segments, &rows))?,
            keys: Array::from_slice(device, &keys)?,
            runs: Array::from_slice(device, &runs)?,
        })
    }

    /// Tokens of all segments.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}

/// The rows of each segment.
fn rows(segments: &[Segment]) -> Vec<Range<u32>> {
    let mut end = 0u32;
    let next = |(i, segment): (usize, &Segment)| {
        let fits = segment.parent.is_none_or(|parent| parent < i && segments[parent].parent.is_none());
        assert!(fits, "a parent comes first and has none itself");
        let first = end;
        let tokens = u32::try_from(segment.tokens).ok();
        end = tokens.and_then(|tokens| first.checked_add(tokens)).expect("kernels count tokens in 32 bits");
        first..end
    };
    segments.iter().enumerate().map(next).collect()
}

/// The first row and the length of each block of `rows`.
fn blocks(rows: &Range<u32>) -> impl Iterator<Item = (u32, u32)> + use<> {
    let end = rows.end;
    rows.clone().step_by(TILE).map(move |first| (first, (end - first).min(TILE as u32)))
}

/// Blocks of queries. Those that see most come first: a GPU begins with them, and is not left waiting for one of them at the end.
fn queries(segments: &[Segment], rows: &[Range<u32>]) -> Vec<QueryBlock> {
    let mut queries = Vec::new();
    for (segment, own) in segments.iter().zip(rows) {
        let parent = segment.parent.map_or(0..0, |parent| rows[parent].clone());
        let (own_first, before) = (own.start, parent.end - parent.start);
        let block = |(first, count)| QueryBlock { first, count, own: own_first, parent: parent.start, before };
        queries.extend(blocks(own).map(block));
    }
    queries.sort_by_key(|block| Reverse(block.before + (block.first - block.own) + block.count));
    queries
}

/// Blocks of keys, those that most see first, and the runs that see them: a segment's own rows and those of its children, joined where they
/// lie end to end.
fn keys(segments: &[Segment], rows: &[Range<u32>]) -> (Vec<KeyBlock>, Vec<Run>) {
    let mut seen_by: Vec<Vec<Run>> = rows.iter().map(|rows| vec![Run { first: rows.start, end: rows.end }]).collect();
    for (segment, rows) in segments.iter().zip(rows) {
        let Some(runs) = segment.parent.map(|parent| &mut seen_by[parent]) else { continue };
        match runs.last_mut() {
            Some(last) if last.end == rows.start => last.end = rows.end,
            _ => runs.push(Run { first: rows.start, end: rows.end }),
        }
    }
    let (mut keys, mut all) = (Vec::new(), Vec::new());
    for (own, runs) in rows.iter().zip(&seen_by) {
        let begin = all.len();
        all.extend(runs);
        let runs_at = [begin, all.len()].map(|at| u32::try_from(at).expect("there are no more runs than tokens"));
        let seen = runs.iter().map(|run| run.end - run.first).sum::<u32>();
        let block = |(first, count)| (seen - (first - own.start), KeyBlock { first, count, runs: runs_at });
        keys.extend(blocks(own).map(block));
    }
    keys.sort_by_key(|(seen, _)| Reverse(*seen));
    (keys.into_iter().map(|(_, block)| block).collect(), all)
}
