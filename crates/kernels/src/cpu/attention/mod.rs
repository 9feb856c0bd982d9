//! Causal grouped-query attention with rotary positions over packed segments, for training.
//!
//! Segments lie end to end without padding. Each is one task, so outputs are disjoint slices and no lock or pointer is shared. Keys and
//! values are laid out once for all query heads that share them. Per query head and block of 24 rows: two products forward, five backward;
//! only the log-sum-exp of each row is kept in between.
//!
//! What a segment sends back to its parent's keys and values goes into a buffer of its own; the buffers are added in the order of the
//! segments, so the sum is the same for any number of threads.

mod backward;
mod forward;
mod packed;

pub use backward::{attention_backward, sinks_backward};
pub use forward::attention;
pub use packed::Packed;

use std::ops::Range;

use super::product::{self, WIDEST};
use super::rope::Rope;
use super::simd::{exp, exp_sum, larger, max, multiversion};
use crate::Scoring;

/// Whole tiles, and as few of what no row sees as pays.
const BLOCK: usize = 24;

/// Queries, keys and values that a segment's tokens see.
#[derive(Clone, Copy)]
struct Seen<'a> {
    /// Its parent's rows; empty without one.
    before: &'a [f32],
    own: &'a [f32],
}

impl<'a> Seen<'a> {
    /// The `segment` of `packed` whose rows of all segments are `parts`.
    fn of(packed: &Packed, parts: &[&'a [f32]], segment: usize) -> Self {
        let before = packed.segments[segment].parent.map_or(&[][..], |parent| parts[parent]);
        Self { before, own: parts[segment] }
    }

    /// Tokens of the parent, and of all.
    fn tokens(&self, p: &Packed) -> (usize, usize) {
        let before = self.before.len() / p.row();
        (before, before + self.own.len() / p.row())
    }

    /// Everything head by head, a token after the other `[heads + 2 kv_heads, all, head_dim]`: queries and keys turned, then values. Of
    /// the parent's queries nothing.
    fn gather(&self, p: &Packed, rope: &Rope, to: &mut [f32]) {
        let (before, all) = self.tokens(p);
        gather_rows(p, rope, self.before, p.heads, 0, all, to);
        gather_rows(p, rope, self.own, 0, before, all, to);
    }
}

/// The heads of a segment as [`Seen::gather`] has put them.
#[derive(Clone, Copy)]
struct Gathered<'a> {
    values: &'a [f32],
    /// Tokens of the parent, and of all.
    before: usize,
    all: usize,
    d: usize,
}

impl<'a> Gathered<'a> {
    fn head(&self, head: usize) -> &'a [f32] {
        &self.values[head * self.all * self.d..][..self.all * self.d]
    }

    fn queries(&self, head: usize) -> &'a [f32] {
        &self.head(head)[self.before * self.d..]
    }

    fn keys(&self, p: &Packed, kv: usize) -> &'a [f32] {
        self.head(p.heads + kv)
    }

    fn values(&self, p: &Packed, kv: usize) -> &'a [f32] {
        self.head(p.heads + p.kv_heads + kv)
    }
}

/// The keys that a block of `rows` rows from position `start` on sees, from the beginning of a panel on.
fn visible(scoring: &Scoring<'_, f32>, start: usize, rows: usize) -> Range<usize> {
    scoring.first(start) / WIDEST * WIDEST..start + rows
}

/// Buffers of one worker, grown to the longest segment it has met.
#[derive(Default)]
struct Scratch {
    /// What [`Seen::gather`] gathers.
    heads: Vec<f32>,
    /// Gradients of outputs, head by head, and their inner products with the outputs.
    dout: Vec<f32>,
    inner: Vec<f32>,
    dq: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
    scores: Vec<f32>,
    d_scores: Vec<f32>,
    /// Keys and values laid out: to be multiplied with each other's rows, and to be mixed.
    keys: product::Scratch,
    values: product::Scratch,
    mixed: product::Scratch,
}

/// `len` numbers of whatever was there before.
pub(super) fn grown(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

multiversion! {
    /// Rows at positions from `first` on, to `to[heads + 2 kv_heads, all, head_dim]`. A row after the other is read, so that what comes
    /// next is fetched from memory meanwhile. The first `left_out` heads are not gathered.
    fn gather_rows(
        p: &Packed, rope: &Rope, rows: &[f32], left_out: usize, first: usize, all: usize, to: &mut [f32],
    ) {
        let d = p.head_dim;
        for (i, row) in rows.chunks_exact(p.row()).enumerate() {
            for (head, from) in row.chunks_exact(d).enumerate().skip(left_out) {
                let to = &mut to[(head * all + first + i) * d..][..d];
                if head < p.heads + p.kv_heads {
                    rope.rotate(first + i, from, to, 1.0);
                } else {
                    to.copy_from_slice(from);
                }
            }
        }
    }
}

multiversion! {
    fn rotate_rows_back(rope: &Rope, first: usize, from: &[f32], to: &mut [f32], row: usize, d: usize) {
        for (i, from) in from.chunks_exact(d).enumerate() {
            rope.rotate(first + i, from, &mut to[i * row..][..d], -1.0);
        }
    }
}

/// Scores, capped, to powers of their distance from the largest; returns that and the sum of all, a sink's among them.
#[inline(always)]
pub(super) fn powers<const FMA: bool>(scores: &mut [f32], cap: Option<f32>, sink: Option<f32>) -> (f32, f32) {
    if let Some(cap) = cap {
        scores.iter_mut().for_each(|x| *x = soft_cap::<FMA>(*x, cap));
    }
    let mut largest = max(scores);
    if let Some(sink) = sink {
        largest = larger(largest, sink);
    }
    let mut sum = exp_sum::<FMA>(scores, largest);
    if let Some(sink) = sink {
        sum += exp::<FMA>(sink - largest);
    }
    (largest, sum)
}

/// `cap tanh(s / cap)`. From one exponential, right to `cap * 2^-23`.
#[inline(always)]
pub(super) fn soft_cap<const FMA: bool>(s: f32, cap: f32) -> f32 {
    let far = exp::<FMA>(-2.0 * s.abs() / cap);
    ((1.0 - far) / (1.0 + far) * cap).copysign(s)
}
