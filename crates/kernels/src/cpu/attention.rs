//! Causal grouped-query attention with rotary positions over packed sequences, for training.
//!
//! Sequences lie end to end without padding. Each is one task, so outputs are disjoint slices and no lock or pointer is shared. Per
//! query head and block of 64 rows: two products forward, five backward; only the log-sum-exp of each row is kept in between.

use rayon::prelude::*;

use super::linear::{View, product};
use super::rope::Rope;
use super::simd::{dot, exp, exp_sum, max, multiversion};

const BLOCK: usize = 64;

/// Shapes of packed sequences and heads.
#[derive(Debug, Clone)]
pub struct Packed {
    /// Tokens of each sequence.
    pub lengths: Vec<usize>,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl Packed {
    /// Tokens of all sequences.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// Floats of one row of queries, keys and values side by side.
    #[must_use]
    pub fn row(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    fn out_row(&self) -> usize {
        self.heads * self.head_dim
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    fn split<'a>(&self, mut rest: &'a [f32], row: usize) -> Vec<&'a [f32]> {
        let mut parts = Vec::with_capacity(self.lengths.len());
        for n in &self.lengths {
            let (part, tail) = rest.split_at(n * row);
            parts.push(part);
            rest = tail;
        }
        parts
    }

    fn split_mut<'a>(&self, mut rest: &'a mut [f32], row: usize) -> Vec<&'a mut [f32]> {
        let mut parts = Vec::with_capacity(self.lengths.len());
        for n in &self.lengths {
            let (part, tail) = rest.split_at_mut(n * row);
            parts.push(part);
            rest = tail;
        }
        parts
    }
}

/// `out[tokens, heads * head_dim]` from `qkv[tokens, (heads + 2 kv_heads) * head_dim]`; `lse[tokens * heads]` receives the
/// log-sum-exp of each score row (head-major within a sequence) for the backward pass.
pub fn attention(packed: &Packed, rope: &Rope, qkv: &[f32], out: &mut [f32], lse: &mut [f32]) {
    let parts = packed.split(qkv, packed.row()).into_par_iter();
    let outs = packed.split_mut(out, packed.out_row()).into_par_iter();
    let lses = packed.split_mut(lse, packed.heads).into_par_iter();
    parts.zip(outs).zip(lses).for_each_init(Scratch::default, |scratch, ((qkv, out), lse)| {
        forward_sequence(packed, rope, qkv, out, lse, scratch);
    });
}

/// Buffers of one worker, grown to the longest sequence it has met.
#[derive(Default)]
struct Scratch {
    q: Vec<f32>,
    k: Vec<f32>,
    dq: Vec<f32>,
    dk: Vec<f32>,
    scores: Vec<f32>,
    d_scores: Vec<f32>,
}

impl Scratch {
    fn reserve(&mut self, n: usize, d: usize) {
        for rows in [&mut self.q, &mut self.k, &mut self.dq, &mut self.dk] {
            rows.resize((n * d).max(rows.len()), 0.0);
        }
        for block in [&mut self.scores, &mut self.d_scores] {
            block.resize((BLOCK * n).max(block.len()), 0.0);
        }
    }
}

fn forward_sequence(p: &Packed, rope: &Rope, qkv: &[f32], out: &mut [f32], lse: &mut [f32], s: &mut Scratch) {
    if qkv.is_empty() {
        return;
    }
    let (n, d, row, out_row) = (qkv.len() / p.row(), p.head_dim, p.row(), p.out_row());
    s.reserve(n, d);
    for kv in 0..p.kv_heads {
        rotate_rows(rope, &qkv[(p.heads + kv) * d..], row, &mut s.k[..n * d], d);
        let v = View::rows(row).at((p.heads + p.kv_heads + kv) * d);
        for head in group(p, kv) {
            rotate_rows(rope, &qkv[head * d..], row, &mut s.q[..n * d], d);
            for start in (0..n).step_by(BLOCK) {
                let rows = BLOCK.min(n - start);
                let seen = start + rows;
                let scores = View::rows(seen);
                let q = View::rows(d).at(start * d);
                product(
                    (rows, seen, d),
                    p.scale(),
                    (&s.q, q),
                    (&s.k, View::columns(d)),
                    (&mut s.scores, scores),
                    false,
                    1,
                );
                softmax_causal(&mut s.scores[..rows * seen], &mut lse[head * n + start..][..rows], start);
                let o = View::rows(out_row).at(start * out_row + head * d);
                product((rows, d, seen), 1.0, (&s.scores, scores), (qkv, v), (out, o), false, 1);
            }
        }
    }
}

fn group(p: &Packed, kv: usize) -> std::ops::Range<usize> {
    let size = p.heads / p.kv_heads;
    kv * size..(kv + 1) * size
}

multiversion! {
    fn rotate_rows(rope: &Rope, from: &[f32], row: usize, to: &mut [f32], d: usize) {
        for (position, to) in to.chunks_exact_mut(d).enumerate() {
            rope.rotate(position, &from[position * row..][..d], to, 1.0);
        }
    }
}

multiversion! {
    fn rotate_rows_back(rope: &Rope, from: &[f32], to: &mut [f32], row: usize, d: usize) {
        for (position, from) in from.chunks_exact(d).enumerate() {
            rope.rotate(position, from, &mut to[position * row..][..d], -1.0);
        }
    }
}

multiversion! {
    /// Rows of scores to probabilities, each row seeing one key more than the one above; `start` keys precede the block.
    fn softmax_causal<const FMA: bool>(scores: &mut [f32], lse: &mut [f32], start: usize) {
        let seen = start + lse.len();
        for (i, (row, lse)) in scores.chunks_exact_mut(seen).zip(lse).enumerate() {
            let (visible, future) = row.split_at_mut(start + i + 1);
            let largest = max(visible);
            let sum = exp_sum::<FMA>(visible, largest);
            let inverse = 1.0 / sum;
            visible.iter_mut().for_each(|x| *x *= inverse);
            future.fill(0.0);
            *lse = largest + sum.ln();
        }
    }
}

/// `dqkv` from `dout`, with the inputs, output and `lse` of [`attention`].
pub fn attention_backward(
    packed: &Packed,
    rope: &Rope,
    qkv: &[f32],
    out: &[f32],
    dout: &[f32],
    lse: &[f32],
    dqkv: &mut [f32],
) {
    let forward = packed.split(qkv, packed.row()).into_par_iter().zip(packed.split(out, packed.out_row()));
    let saved = packed.split(dout, packed.out_row()).into_par_iter().zip(packed.split(lse, packed.heads));
    let gradients = packed.split_mut(dqkv, packed.row()).into_par_iter();
    forward.zip(saved).zip(gradients).for_each_init(Scratch::default, |scratch, (((qkv, out), (dout, lse)), dqkv)| {
        backward_sequence(packed, rope, &Saved { qkv, out, dout, lse }, dqkv, scratch);
    });
}

struct Saved<'a> {
    qkv: &'a [f32],
    out: &'a [f32],
    dout: &'a [f32],
    lse: &'a [f32],
}

fn backward_sequence(p: &Packed, rope: &Rope, saved: &Saved<'_>, dqkv: &mut [f32], s: &mut Scratch) {
    if saved.qkv.is_empty() {
        return;
    }
    let (n, d, row) = (saved.qkv.len() / p.row(), p.head_dim, p.row());
    s.reserve(n, d);
    dqkv.fill(0.0);
    for kv in 0..p.kv_heads {
        let key = (p.heads + kv) * d;
        rotate_rows(rope, &saved.qkv[key..], row, &mut s.k[..n * d], d);
        s.dk[..n * d].fill(0.0);
        for head in group(p, kv) {
            rotate_rows(rope, &saved.qkv[head * d..], row, &mut s.q[..n * d], d);
            for start in (0..n).step_by(BLOCK) {
                backward_block(p, saved, dqkv, s, (kv, head, start, n));
            }
            rotate_rows_back(rope, &s.dq[..n * d], &mut dqkv[head * d..], row, d);
        }
        rotate_rows_back(rope, &s.dk[..n * d], &mut dqkv[key..], row, d);
    }
}

fn backward_block(
    p: &Packed,
    saved: &Saved<'_>,
    dqkv: &mut [f32],
    s: &mut Scratch,
    (kv, head, start, n): (usize, usize, usize, usize),
) {
    let (d, out_row) = (p.head_dim, p.out_row());
    let rows = BLOCK.min(n - start);
    let seen = start + rows;
    let scores = View::rows(seen);
    let scores_t = View::columns(seen);
    let v_offset = (p.heads + p.kv_heads + kv) * d;
    let v_t = View::columns(p.row()).at(v_offset);
    let q = View::rows(d).at(start * d);
    let o_offset = start * out_row + head * d;
    let o = View::rows(out_row).at(o_offset);
    product((rows, seen, d), p.scale(), (&s.q, q), (&s.k, View::columns(d)), (&mut s.scores, scores), false, 1);
    product((rows, seen, d), 1.0, (saved.dout, o), (saved.qkv, v_t), (&mut s.d_scores, scores), false, 1);
    let (out, dout) = (&saved.out[o_offset..], &saved.dout[o_offset..]);
    let lse = &saved.lse[head * n + start..][..rows];
    softmax_backward(
        &mut s.scores[..rows * seen],
        &mut s.d_scores[..rows * seen],
        lse,
        out,
        dout,
        out_row,
        d,
        p.scale(),
    );
    let dv = View::rows(p.row()).at(v_offset);
    product((seen, d, rows), 1.0, (&s.scores, scores_t), (saved.dout, o), (dqkv, dv), true, 1);
    product((rows, d, seen), 1.0, (&s.d_scores, scores), (&s.k, View::rows(d)), (&mut s.dq, q), false, 1);
    product((seen, d, rows), 1.0, (&s.d_scores, scores_t), (&s.q, q), (&mut s.dk, View::rows(d)), true, 1);
}

multiversion! {
    /// Raw scores to probabilities, and gradients of probabilities to gradients of raw scores (times `scale`), in place.
    fn softmax_backward<const FMA: bool>(
        scores: &mut [f32], d_scores: &mut [f32], lse: &[f32], out: &[f32], dout: &[f32], out_row: usize, d: usize, scale: f32,
    ) {
        let seen = scores.len() / lse.len();
        let start = seen - lse.len();
        let rows = scores.chunks_exact_mut(seen).zip(d_scores.chunks_exact_mut(seen));
        for (i, (p, ds)) in rows.enumerate() {
            let inner = dot(&out[i * out_row..][..d], &dout[i * out_row..][..d]);
            let (p, p_future) = p.split_at_mut(start + i + 1);
            let (ds, ds_future) = ds.split_at_mut(start + i + 1);
            for (p, ds) in p.iter_mut().zip(ds.iter_mut()) {
                *p = exp::<FMA>(*p - lse[i]);
                *ds = *p * (*ds - inner) * scale;
            }
            p_future.fill(0.0);
            ds_future.fill(0.0);
        }
    }
}
