//! Causal grouped-query attention with rotary positions over packed segments, for training.
//!
//! Segments lie end to end without padding. Each is one task, so outputs are disjoint slices and no lock or pointer is shared. Keys and
//! values are laid out once for all query heads that share them. Per query head and block of 48 rows: two products forward, five backward;
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
const BLOCK: usize = 48;

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

    /// The rotated keys of head `kv`, one after the other.
    fn keys(&self, p: &Packed, rope: &Rope, kv: usize, to: &mut [f32]) {
        let at = (p.heads + kv) * p.head_dim;
        let (before, own) = to.split_at_mut(self.before.len() / p.row() * p.head_dim);
        if !before.is_empty() {
            rotate_rows(rope, 0, &self.before[at..], p.row(), before, p.head_dim);
        }
        rotate_rows(rope, before.len() / p.head_dim, &self.own[at..], p.row(), own, p.head_dim);
    }

    /// The values of head `kv`, one after the other.
    fn values(&self, p: &Packed, kv: usize, to: &mut [f32]) {
        let at = (p.heads + p.kv_heads + kv) * p.head_dim;
        let rows = self.before.chunks_exact(p.row()).chain(self.own.chunks_exact(p.row()));
        for (to, from) in to.chunks_exact_mut(p.head_dim).zip(rows) {
            to.copy_from_slice(&from[at..][..p.head_dim]);
        }
    }
}

/// The keys that a block of `rows` rows from position `start` on sees, from the beginning of a panel on.
fn visible(scoring: &Scoring<'_, f32>, start: usize, rows: usize) -> Range<usize> {
    scoring.first(start) / WIDEST * WIDEST..start + rows
}

/// Buffers of one worker, grown to the longest segment it has met.
#[derive(Default)]
struct Scratch {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
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

impl Scratch {
    /// Room for tokens that see up to `seen` others, in heads `d` wide.
    fn reserve(&mut self, seen: usize, d: usize) {
        for rows in [&mut self.q, &mut self.k, &mut self.v, &mut self.dq, &mut self.dk, &mut self.dv] {
            rows.resize((seen * d).max(rows.len()), 0.0);
        }
        for block in [&mut self.scores, &mut self.d_scores] {
            block.resize((BLOCK * seen).max(block.len()), 0.0);
        }
    }
}

multiversion! {
    /// Rows at positions from `first` on, turned.
    fn rotate_rows(rope: &Rope, first: usize, from: &[f32], row: usize, to: &mut [f32], d: usize) {
        for (i, to) in to.chunks_exact_mut(d).enumerate() {
            rope.rotate(first + i, &from[i * row..][..d], to, 1.0);
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
