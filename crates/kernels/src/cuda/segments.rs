//! Which tokens see which, as kernels look it up.

use std::cmp::Reverse;
use std::ops::Range;

use super::array::{Array, Element};
use super::device::{Device, DeviceError};
use crate::Segment;

/// Queries or keys of a block, as in `cu/attention.cu`.
pub(super) const TILE: usize = 64;
/// Rows whose sums are worth a part of their own.
const LEAST_PART: u32 = 512;
/// As in `cu/attention.cu`.
const NO_PART: u32 = u32::MAX;

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

/// Keys that follow one another in a segment, and which of the runs see them, or a part of those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct KeyBlock {
    first: u32,
    count: u32,
    runs: [u32; 2],
    part: u32,
}

/// Keys whose gradient is the sum of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct JoinedBlock {
    first: u32,
    count: u32,
    parts: [u32; 2],
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

elements!(QueryBlock = b'a', KeyBlock = b'k', JoinedBlock = b'j', Run = b'n');

/// Packed segments, cut into blocks. The same for every layer and every shape of heads, so made once for a batch.
#[derive(Debug)]
pub struct Segments<D: Device> {
    pub(super) tokens: usize,
    pub(super) queries: Array<D, QueryBlock>,
    pub(super) keys: Array<D, KeyBlock>,
    pub(super) runs: Array<D, Run>,
    pub(super) joined: Array<D, JoinedBlock>,
    /// How many parts there are.
    pub(super) parts: usize,
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
        let keys = Keys::new(segments, &rows);
        Ok(Self {
            tokens: rows.last().map_or(0, |rows| rows.end as usize),
            queries: Array::from_slice(device, &queries(segments, &rows))?,
            keys: Array::from_slice(device, &keys.blocks)?,
            runs: Array::from_slice(device, &keys.runs)?,
            joined: Array::from_slice(device, &keys.joined)?,
            parts: keys.parts as usize,
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

/// The rows that see each segment: its own and those of its children, joined where they lie end to end.
fn seen_by(segments: &[Segment], rows: &[Range<u32>]) -> Vec<Vec<Run>> {
    let mut seen_by: Vec<Vec<Run>> = rows.iter().map(|rows| vec![Run { first: rows.start, end: rows.end }]).collect();
    for (segment, rows) in segments.iter().zip(rows) {
        let Some(runs) = segment.parent.map(|parent| &mut seen_by[parent]) else { continue };
        match runs.last_mut() {
            Some(last) if last.end == rows.start => last.end = rows.end,
            _ => runs.push(Run { first: rows.start, end: rows.end }),
        }
    }
    seen_by
}

/// `runs` in pieces that hold no more than `most` rows each.
fn pieces(runs: &[Run], most: u32) -> Vec<Vec<Run>> {
    let (mut pieces, mut room) = (vec![Vec::new()], most);
    for run in runs {
        let mut rest = *run;
        while rest.first < rest.end {
            if room == 0 {
                pieces.push(Vec::new());
                room = most;
            }
            let end = rest.end.min(rest.first.saturating_add(room));
            pieces.last_mut().expect("there is a first one").push(Run { first: rest.first, end });
            room -= end - rest.first;
            rest.first = end;
        }
    }
    pieces
}

#[derive(Default)]
struct Keys {
    blocks: Vec<KeyBlock>,
    runs: Vec<Run>,
    joined: Vec<JoinedBlock>,
    parts: u32,
}

impl Keys {
    /// Blocks of keys, those that most see first. Keys with many children have several blocks, none of which takes longer than the first keys of
    /// the longest segment.
    fn new(segments: &[Segment], rows: &[Range<u32>]) -> Self {
        let longest = rows.iter().map(|rows| rows.end - rows.start).max().unwrap_or(0);
        let most = longest.max(LEAST_PART).saturating_add(TILE as u32 - 1) / TILE as u32 * TILE as u32;
        let mut keys = Self::default();
        for (own, runs) in rows.iter().zip(seen_by(segments, rows)) {
            for (first, count) in blocks(own) {
                let mut runs = runs.clone();
                runs[0].first = first;
                keys.add((first, count), &pieces(&runs, most));
            }
        }
        let seen = |block: &KeyBlock| -> u32 {
            let runs = &keys.runs[block.runs[0] as usize..block.runs[1] as usize];
            runs.iter().map(|run| run.end - run.first).sum()
        };
        keys.blocks.sort_by_key(|block| Reverse(seen(block)));
        keys
    }

    fn add(&mut self, (first, count): (u32, u32), pieces: &[Vec<Run>]) {
        let whole = pieces.len() == 1;
        let begin = self.parts;
        for piece in pieces {
            let from = self.runs.len();
            self.runs.extend(piece);
            let runs = [from, self.runs.len()].map(|at| u32::try_from(at).expect("runs are counted in 32 bits"));
            let part = if whole { NO_PART } else { self.parts };
            self.blocks.push(KeyBlock { first, count, runs, part });
            self.parts += u32::from(!whole);
        }
        if !whole {
            self.joined.push(JoinedBlock { first, count, parts: [begin, self.parts] });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(parents: &[usize], children: &[(usize, usize)]) -> Keys {
        let child = |(tokens, parent): &(usize, usize)| Segment { tokens: *tokens, parent: Some(*parent) };
        let parents = parents.iter().copied().map(Segment::alone);
        let segments: Vec<Segment> = parents.chain(children.iter().map(child)).collect();
        Keys::new(&segments, &rows(&segments))
    }

    #[test]
    fn children_right_behind_their_parent_are_one_run_with_it() {
        // Rows 0..3 are the parent's, 3..5 and 5..9 its children's.
        let keys = keys(&[3], &[(2, 0), (4, 0)]);
        assert_eq!(keys.runs[0], Run { first: 0, end: 9 });
        assert_eq!(keys.blocks[0], KeyBlock { first: 0, count: 3, runs: [0, 1], part: NO_PART });
        assert!(keys.blocks.len() == 3 && keys.parts == 0 && keys.joined.is_empty());
    }

    #[test]
    fn keys_that_many_rows_see_are_summed_in_parts_of_512() {
        // Rows 0..70 are a parent's and 70..71 another's; the first one's children have 71..371 and 371..671. Of 670 rows that see its first 64
        // keys, the first part takes 0..70 and 442 of the children's; of 606 that see the other 6, it takes 64..70 and 506.
        let keys = keys(&[70, 1], &[(300, 0), (300, 0)]);
        let run = |first, end| Run { first, end };
        assert_eq!(keys.runs[..3], [run(0, 70), run(71, 513), run(513, 671)]);
        assert_eq!(keys.runs[3..6], [run(64, 70), run(71, 577), run(577, 671)]);
        let joined = |first, count, parts| JoinedBlock { first, count, parts };
        assert_eq!(keys.joined, [joined(0, 64, [0, 2]), joined(64, 6, [2, 4])]);
        assert_eq!(keys.blocks[..2].iter().map(|block| block.part).collect::<Vec<_>>(), [0, 2]);
    }
}
