//! Outputs from queries, keys and values.

use rayon::prelude::*;

use super::{BLOCK, Packed, Scratch, Seen, rotate_rows};
use crate::cpu::Rope;
use crate::cpu::linear::{View, product};
use crate::cpu::simd::{exp_sum, max, multiversion};

/// `out[tokens, heads * head_dim]` from `qkv[tokens, (heads + 2 kv_heads) * head_dim]`; `lse[tokens * heads]` receives the
/// log-sum-exp of each score row (head-major within a segment) for the backward pass.
///
/// # Panics
/// If a segment's parent does not come before it or has a parent itself, or `rope` holds too few positions.
pub fn attention(packed: &Packed, rope: &Rope, qkv: &[f32], out: &mut [f32], lse: &mut [f32]) {
    packed.check();
    let parts = packed.split(qkv, packed.row());
    let outs = packed.split_mut(out, packed.out_row()).into_par_iter();
    let lses = packed.split_mut(lse, packed.heads).into_par_iter();
    outs.zip(lses).enumerate().for_each_init(Scratch::default, |scratch, (i, (out, lse))| {
        forward_segment(packed, rope, Seen::of(packed, &parts, i), out, lse, scratch);
    });
}

fn forward_segment(p: &Packed, rope: &Rope, seen: Seen<'_>, out: &mut [f32], lse: &mut [f32], s: &mut Scratch) {
    if seen.own.is_empty() {
        return;
    }
    let (d, row, out_row) = (p.head_dim, p.row(), p.out_row());
    let (before, n) = (seen.before.len() / row, seen.own.len() / row);
    s.reserve(before + n, d);
    for kv in 0..p.kv_heads {
        seen.keys(p, rope, kv, &mut s.k[..(before + n) * d]);
        let v = View::rows(row).at((p.heads + p.kv_heads + kv) * d);
        for head in p.group(kv) {
            rotate_rows(rope, before, &seen.own[head * d..], row, &mut s.q[..n * d], d);
            for start in (0..n).step_by(BLOCK) {
                let rows = BLOCK.min(n - start);
                let width = before + start + rows;
                let scores = View::rows(width);
                let q = View::rows(d).at(start * d);
                let k = View::columns(d);
                product((rows, width, d), p.scale(), (&s.q, q), (&s.k, k), (&mut s.scores, scores), false, 1);
                softmax_causal(&mut s.scores[..rows * width], &mut lse[head * n + start..][..rows], before + start);
                let o = View::rows(out_row).at(start * out_row + head * d);
                product((rows, d, before), 1.0, (&s.scores, scores), (seen.before, v), (out, o), false, 1);
                let own = scores.at(before);
                product((rows, d, start + rows), 1.0, (&s.scores, own), (seen.own, v), (out, o), before > 0, 1);
            }
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
