//! Attention of a few new tokens over what is already cached, for generation.
//!
//! Each row attends to exactly its own length, so ragged batches need neither mask nor padding, and what a row computes does not
//! depend on which other rows are there. Keys are cached transposed, `[head_dim, positions]`: scores are then sums over whole
//! vectors of positions and need no horizontal additions, which cost more than the arithmetic for narrow heads.

use rayon::prelude::*;

use super::rope::Rope;
use super::simd::{exp_sum, max, multiversion};

/// One new token: where it stands and in which slot's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its position in its conversation.
    pub position: usize,
    /// The slot that holds the conversation.
    pub slot: usize,
}

/// Keys and values of one layer for every slot.
#[derive(Debug, Clone)]
pub struct KvCache {
    kv_heads: usize,
    head_dim: usize,
    positions: usize,
    /// Floats from one component of the keys to the next: whole blocks of positions, so that the last one can be read like the
    /// others, and no power of two, which would put every component into the same few cache lines.
    stride: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl KvCache {
    /// Room for `slots` conversations of `positions` tokens.
    #[must_use]
    pub fn new(slots: usize, kv_heads: usize, head_dim: usize, positions: usize) -> Self {
        let (heads, stride) = (slots * kv_heads, positions.next_multiple_of(WIDE) + 16);
        let (keys, values) = (vec![0.0; heads * head_dim * stride], vec![0.0; heads * head_dim * positions]);
        Self { kv_heads, head_dim, positions, stride, keys, values }
    }

    /// The keys `[head_dim, stride]` of one head in one slot.
    fn keys(&self, slot: usize, head: usize) -> &[f32] {
        let size = self.head_dim * self.stride;
        &self.keys[(slot * self.kv_heads + head) * size..][..size]
    }

    /// Its values `[positions, head_dim]`.
    fn values(&self, slot: usize, head: usize) -> &[f32] {
        let size = self.head_dim * self.positions;
        &self.values[(slot * self.kv_heads + head) * size..][..size]
    }

    fn append(&mut self, rope: &Rope, row: Row, head: usize, key: &[f32], value: &[f32]) {
        let d = self.head_dim;
        let first = (row.slot * self.kv_heads + head) * d;
        let mut rotated = [0f32; 256];
        rope.rotate(row.position, key, &mut rotated[..d], 1.0);
        for (i, x) in rotated[..d].iter().enumerate() {
            self.keys[(first + i) * self.stride + row.position] = *x;
        }
        self.values[first * self.positions + row.position * d..][..d].copy_from_slice(value);
    }
}

/// Appends keys and values of `qkv[rows, (heads + 2 kv_heads) * head_dim]` to the cache, then writes each row's attention over its
/// slot up to and including itself into `out[rows, heads * head_dim]`. Rows of one slot must come in order of position.
///
/// # Panics
/// If a row lies outside the cache or heads are wider than 256.
pub fn decode_attention(cache: &mut KvCache, rope: &Rope, heads: usize, rows: &[Row], qkv: &[f32], out: &mut [f32]) {
    let (kv, d) = (cache.kv_heads, cache.head_dim);
    let width = (heads + 2 * kv) * d;
    assert!(
        qkv.len() == rows.len() * width && out.len() == rows.len() * heads * d && d <= 256,
        "decode_attention shapes"
    );
    for (row, qkv) in rows.iter().zip(qkv.chunks_exact(width)) {
        assert!(row.position < cache.positions, "position {} is beyond the cache", row.position);
        for head in 0..kv {
            let (key, value) = (&qkv[(heads + head) * d..][..d], &qkv[(heads + kv + head) * d..][..d]);
            cache.append(rope, *row, head, key, value);
        }
    }
    let cache = &*cache;
    let tasks = rows.par_iter().zip(qkv.par_chunks_exact(width)).zip(out.par_chunks_exact_mut(heads * d));
    tasks.with_min_len(4).for_each_init(
        || vec![0f32; cache.stride],
        |scores, ((row, qkv), out)| {
            for (head, out) in out.chunks_exact_mut(d).enumerate() {
                let shared = head / (heads / kv);
                let (keys, values) = (cache.keys(row.slot, shared), cache.values(row.slot, shared));
                attend(rope, row.position, &qkv[head * d..][..d], keys, values, cache.stride, scores, out);
            }
        },
    );
}

const WIDE: usize = 64;

multiversion! {
    fn attend<const FMA: bool>(
        rope: &Rope, position: usize, q: &[f32], keys: &[f32], values: &[f32], stride: usize, scores: &mut [f32], out: &mut [f32],
    ) {
        let (d, n) = (q.len(), position + 1);
        let mut rotated = [0f32; 256];
        rope.rotate(position, q, &mut rotated[..d], 1.0);
        let scale = 1.0 / (d as f32).sqrt();
        // The last block reaches past the row; what it finds there is not read.
        for start in (0..n).step_by(WIDE) {
            let mut lanes = [0f32; WIDE];
            for (i, &q) in rotated[..d].iter().enumerate() {
                let key = &keys[i * stride + start..][..WIDE];
                for j in 0..WIDE {
                    lanes[j] += q * key[j];
                }
            }
            for j in 0..WIDE {
                scores[start + j] = lanes[j] * scale;
            }
        }
        let scores = &mut scores[..n];
        let largest = max(scores);
        let inverse = 1.0 / exp_sum::<FMA>(scores, largest);
        weigh(scores, values, inverse, out);
    }
}

const COLUMNS: usize = 32;

/// `out = scale * sum_t weights[t] values[t, :]`.
#[inline(always)]
fn weigh(weights: &[f32], values: &[f32], scale: f32, out: &mut [f32]) {
    let d = out.len();
    let whole = d / COLUMNS * COLUMNS;
    for column in (0..whole).step_by(COLUMNS) {
        weigh_columns(weights, values, d, column, scale, &mut out[column..column + COLUMNS]);
    }
    for column in whole..d {
        let sum: f32 = weights.iter().zip(values[column..].iter().step_by(d)).map(|(w, v)| w * v).sum();
        out[column] = sum * scale;
    }
}

/// Four rows at a time into separate sums, so that additions do not wait for one another.
#[inline(always)]
fn weigh_columns(weights: &[f32], values: &[f32], d: usize, column: usize, scale: f32, out: &mut [f32]) {
    let mut sums = [[0f32; COLUMNS]; 4];
    let (quads, rest) = weights.as_chunks::<4>();
    for (quad, values) in quads.iter().zip(values.chunks_exact(4 * d)) {
        for (i, w) in quad.iter().enumerate() {
            let value = &values[i * d + column..][..COLUMNS];
            for j in 0..COLUMNS {
                sums[i][j] += w * value[j];
            }
        }
    }
    for (i, w) in rest.iter().enumerate() {
        let value = &values[(quads.len() * 4 + i) * d + column..][..COLUMNS];
        for j in 0..COLUMNS {
            sums[i][j] += w * value[j];
        }
    }
    for j in 0..COLUMNS {
        out[j] = ((sums[0][j] + sums[1][j]) + (sums[2][j] + sums[3][j])) * scale;
    }
}
