//! Attention of a few new tokens over what is already cached, for generation.
//!
//! Each row attends to exactly its own length, so ragged batches need neither mask nor padding, and what a row computes does not
//! depend on which other rows are there. Rows of one slot and query heads of one key-value head are taken together, two by two: every
//! key and value is read once for all of them, and the chains of multiply-adds of one fill the waits of the other.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::attention::{grown, powers};
use super::kv_cache::{BLOCK, KvCache, Row};
use super::prefetch::prefetch;
use super::rope::Rope;
use super::simd::{mul_add, multiversion};
use crate::Scoring;

/// Rows of a task at most.
const ROWS: usize = 16;

/// Appends keys and values of `qkv[rows, (heads + 2 kv_heads) * head_dim]` to the cache, then writes each row's attention over its
/// slot up to and including itself into `out[rows, heads * head_dim]`. Rows of one slot must come in order of position.
///
/// # Panics
/// If a row lies outside the cache or heads are wider than 256.
pub fn decode_attention(
    cache: &mut KvCache,
    rope: &Rope,
    scoring: Scoring<'_, f32>,
    heads: usize,
    rows: &[Row],
    qkv: &[f32],
    out: &mut [f32],
) {
    let d = cache.head_dim;
    let (width, out_width) = ((heads + 2 * cache.kv_heads) * d, heads * d);
    assert!(
        qkv.len() == rows.len() * width && out.len() == rows.len() * out_width && d <= 256,
        "decode_attention shapes"
    );
    for row in rows {
        assert!(row.position < cache.positions, "position {} is beyond the cache", row.position);
    }
    cache.append(rope, heads, rows, qkv);
    let cache = &*cache;
    let piece = rows.len().div_ceil(4 * rayon::current_num_threads()).clamp(1, ROWS);
    let pieces = rows.par_chunks(piece).zip(qkv.par_chunks(piece * width)).zip(out.par_chunks_mut(piece * out_width));
    pieces.for_each(|((rows, mut qkv), mut out)| {
        for rows in rows.chunk_by(|a, b| a.slot == b.slot) {
            let (these_qkv, rest_qkv) = qkv.split_at(rows.len() * width);
            let (these_out, rest_out) = std::mem::take(&mut out).split_at_mut(rows.len() * out_width);
            SCRATCH.with_borrow_mut(|scratch| {
                for head in 0..cache.kv_heads {
                    attend(cache, rope, scoring, heads, head, rows, these_qkv, these_out, scratch);
                }
            });
            (qkv, out) = (rest_qkv, rest_out);
        }
    });
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Buffers of one worker, grown to the most it has needed.
#[derive(Default)]
struct Scratch {
    queries: Vec<f32>,
    scores: Vec<f32>,
}

multiversion! {
    /// Attention of one slot's `rows`, in order of position, under key-value head `head`.
    fn attend<const FMA: bool>(
        cache: &KvCache, rope: &Rope, scoring: Scoring<'_, f32>, heads: usize, head: usize, rows: &[Row], qkv: &[f32], out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (d, group) = (cache.head_dim, heads / cache.kv_heads);
        let (slot, seen) = (rows[0].slot, rows[rows.len() - 1].position + 1);
        let (count, stride) = (rows.len() * group, seen.next_multiple_of(BLOCK));
        let queries = grown(&mut scratch.queries, count * d);
        for (i, query) in queries.chunks_exact_mut(d).enumerate() {
            let from = i / group * (qkv.len() / rows.len()) + (head * group + i % group) * d;
            rope.rotate(rows[i / group].position, &qkv[from..][..d], query, 1.0);
        }
        let scores = grown(&mut scratch.scores, count * stride);
        let sees = |i: usize| {
            let position = rows[i / group].position;
            scoring.first(position)..position + 1
        };
        let values = &cache.values(slot, head)[..seen * d];
        score::<FMA>(cache.keys(slot, head), queries, values, scores, stride, scoring.scale, sees);
        for one in (0..count).step_by(2) {
            let two = (one + 1).min(count - 1);
            let (first, place) = (sees(one).start, |i: usize| i / group * heads * d + (head * group + i % group) * d);
            let (values, pair) = (&values[first * d..], &mut scores[one * stride..]);
            let sink = |i: usize| scoring.sinks.map(|sinks| sinks[head * group + i % group]);
            let (here, next) = pair.split_at_mut(stride);
            let here = Weights::new::<FMA>(&mut here[first..sees(one).end], 0, scoring.soft_cap, sink(one));
            if two > one {
                let (past, next) = (sees(two).start - first, &mut next[first..sees(two).end]);
                let next = Weights::new::<FMA>(next, past, scoring.soft_cap, sink(two));
                weigh::<FMA, _>([here, next], values, d, out, [place(one), place(two)]);
            } else {
                weigh::<FMA, _>([here], values, d, out, [place(one)]);
            }
        }
    }
}

/// `scores[count, stride]` of `queries[count, d]` with the keys that each one sees; what lies elsewhere is not to be read. The `values`
/// are asked for on the way.
#[inline(always)]
fn score<const FMA: bool>(
    keys: &[f32],
    queries: &[f32],
    values: &[f32],
    scores: &mut [f32],
    stride: usize,
    scale: f32,
    sees: impl Fn(usize) -> Range<usize>,
) {
    let count = scores.len() / stride;
    let d = queries.len() / count;
    for (block, keys) in keys.chunks_exact(d * BLOCK).take(stride / BLOCK).enumerate() {
        let keys = keys.as_chunks::<BLOCK>().0;
        let values = values.get(block * BLOCK * d..).unwrap_or_default();
        for first in (0..count).step_by(2) {
            let last = (first + 1).min(count - 1);
            // The first of the two sees what is earliest, the last what is latest.
            if sees(last).end <= block * BLOCK || sees(first).start >= (block + 1) * BLOCK {
                continue;
            }
            let at = |i: usize| i * stride + block * BLOCK;
            let query = |i: usize| &queries[i * d..][..d];
            let mut products = [[0f32; BLOCK]; 2];
            if last > first {
                products_of::<FMA, _>([query(first), query(last)], keys, values, &mut products);
                store(&products[1], scale, &mut scores[at(last)..]);
            } else {
                let [one, _] = &mut products;
                products_of::<FMA, _>([query(first)], keys, values, std::array::from_mut(one));
            }
            store(&products[0], scale, &mut scores[at(first)..]);
        }
    }
}

/// Products of queries `[d]` and keys `[d, 32]`; the values of these 32 positions are asked for, as much as a key is long at a time.
#[inline(always)]
fn products_of<const FMA: bool, const N: usize>(
    queries: [&[f32]; N],
    keys: &[[f32; BLOCK]],
    values: &[f32],
    products: &mut [[f32; BLOCK]; N],
) {
    let queries = queries.map(|query| &query[..keys.len()]);
    let mut held = *products;
    for (i, key) in keys.iter().enumerate() {
        prefetch(values, i * BLOCK, BLOCK);
        for n in 0..N {
            for j in 0..BLOCK {
                held[n][j] = mul_add::<FMA>(queries[n][i], key[j], held[n][j]);
            }
        }
    }
    *products = held;
}

#[inline(always)]
fn store(products: &[f32; BLOCK], scale: f32, scores: &mut [f32]) {
    for (score, product) in scores[..BLOCK].iter_mut().zip(products) {
        *score = product * scale;
    }
}

/// What a query gives to each position it sees, before they are made to sum to one.
#[derive(Clone, Copy)]
struct Weights<'a> {
    each: &'a [f32],
    inverse: f32,
}

impl<'a> Weights<'a> {
    /// Of `scores`, of which the first `past` are not seen.
    #[inline(always)]
    fn new<const FMA: bool>(scores: &'a mut [f32], past: usize, cap: Option<f32>, sink: Option<f32>) -> Self {
        let (unseen, seen) = scores.split_at_mut(past);
        unseen.fill(0.0);
        let (_, sum) = powers::<FMA>(seen, cap, sink);
        Self { each: scores, inverse: 1.0 / sum }
    }
}

/// Writes each query's weighted mean of `values[_, d]` to its place in `out`; the first query sees no more than the last.
#[inline(always)]
fn weigh<const FMA: bool, const N: usize>(
    weights: [Weights<'_>; N],
    values: &[f32],
    d: usize,
    out: &mut [f32],
    places: [usize; N],
) {
    let mut column = 0;
    while column + 32 <= d {
        weigh_columns::<FMA, N, 32>(weights, values, d, column, out, places);
        column += 32;
    }
    while column + 8 <= d {
        weigh_columns::<FMA, N, 8>(weights, values, d, column, out, places);
        column += 8;
    }
    while column < d {
        weigh_columns::<FMA, N, 1>(weights, values, d, column, out, places);
        column += 1;
    }
}

#[inline(always)]
fn weigh_columns<const FMA: bool, const N: usize, const C: usize>(
    weights: [Weights<'_>; N],
    values: &[f32],
    d: usize,
    column: usize,
    out: &mut [f32],
    places: [usize; N],
) {
    let together = weights[0].each.len();
    let mut sums = [[0f32; C]; N];
    accumulate::<FMA, _, _>(weights.map(|weights| &weights.each[..together]), values, d, column, &mut sums);
    for n in 1..N {
        let rest = &weights[n].each[together..];
        accumulate::<FMA, _, _>([rest], &values[together * d..], d, column, std::array::from_mut(&mut sums[n]));
    }
    for n in 0..N {
        for (out, sum) in out[places[n] + column..][..C].iter_mut().zip(sums[n]) {
            *out = sum * weights[n].inverse;
        }
    }
}

#[inline(always)]
fn accumulate<const FMA: bool, const N: usize, const C: usize>(
    weights: [&[f32]; N],
    values: &[f32],
    d: usize,
    column: usize,
    sums: &mut [[f32; C]; N],
) {
    let mut held = *sums;
    for (t, value) in values.chunks_exact(d).take(weights[0].len()).enumerate() {
        let value = &value[column..][..C];
        for n in 0..N {
            for j in 0..C {
                held[n][j] = mul_add::<FMA>(weights[n][t], value[j], held[n][j]);
            }
        }
    }
    *sums = held;
}
