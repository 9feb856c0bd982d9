//! Outputs from queries, keys and values.

use rayon::prelude::*;

use super::{BLOCK, Packed, Scratch, Seen, powers, rotate_rows};
use crate::Scoring;
use crate::cpu::Rope;
use crate::cpu::linear::{View, product};
use crate::cpu::simd::multiversion;

/// `out[tokens, heads * head_dim]` from `qkv[tokens, (heads + 2 kv_heads) * head_dim]`; `lse[tokens * heads]` receives the
/// log-sum-exp of each score row (head-major within a segment) for the backward pass.
///
/// # Panics
/// If a segment's parent does not come before it or has a parent itself, or `rope` holds too few positions.
pub fn attention(
    packed: &Packed,
    rope: &Rope,
    scoring: Scoring<'_, f32>,
    qkv: &[f32],
    out: &mut [f32],
    lse: &mut [f32],
) {
    packed.check();
    let parts = packed.split(qkv, packed.row());
    let outs = packed.split_mut(out, packed.out_row()).into_par_iter();
    let lses = packed.split_mut(lse, packed.heads).into_par_iter();
    outs.zip(lses).enumerate().for_each_init(Scratch::default, |scratch, (i, (out, lse))| {
        forward_segment(packed, (rope, scoring), Seen::of(packed, &parts, i), out, lse, scratch);
    });
}

fn forward_segment(
    p: &Packed,
    (rope, scoring): (&Rope, Scoring<'_, f32>),
    seen: Seen<'_>,
    out: &mut [f32],
    lse: &mut [f32],
    s: &mut Scratch,
) {
    if seen.own.is_empty() {
        return;
    }
    let (d, row, out_row) = (p.head_dim, p.row(), p.out_row());
    let (before, n) = (seen.before.len() / row, seen.own.len() / row);
    s.reserve(before + n, d);
    for kv in 0..p.kv_heads {
        seen.keys(p, rope, kv, &mut s.k[..(before + n) * d]);
        let v = (p.heads + p.kv_heads + kv) * d;
        for head in p.group(kv) {
            rotate_rows(rope, before, &seen.own[head * d..], row, &mut s.q[..n * d], d);
            let sink = scoring.sinks.map(|sinks| sinks[head]);
            for start in (0..n).step_by(BLOCK) {
                let rows = BLOCK.min(n - start);
                let first = scoring.first(before + start);
                let width = before + start + rows - first;
                let scores = View::rows(width);
                let (q, k) = (View::rows(d).at(start * d), View::columns(d).at(first * d));
                product((rows, width, d), scoring.scale, (&s.q, q), (&s.k, k), (&mut s.scores, scores), false, 1);
                let block = &mut s.scores[..rows * width];
                softmax(block, &mut lse[head * n + start..][..rows], scoring.window, scoring.soft_cap, sink);
                let o = View::rows(out_row).at(start * out_row + head * d);
                let (shared, from) = seen.from(p, first);
                let (theirs, ours) = (View::rows(row).at(first * row + v), View::rows(row).at(from * row + v));
                product((rows, d, shared), 1.0, (&s.scores, scores), (seen.before, theirs), (out, o), false, 1);
                let own = (&s.scores[..], scores.at(shared));
                product((rows, d, width - shared), 1.0, own, (seen.own, ours), (out, o), shared > 0, 1);
            }
        }
    }
}

multiversion! {
    /// Rows of scores to probabilities. Each row sees one key more than the one above, and of those no more than `window`.
    fn softmax<const FMA: bool>(
        scores: &mut [f32], lse: &mut [f32], window: Option<usize>, cap: Option<f32>, sink: Option<f32>,
    ) {
        let seen = scores.len() / lse.len();
        let start = seen - lse.len();
        for (i, (row, lse)) in scores.chunks_exact_mut(seen).zip(lse).enumerate() {
            let (row, future) = row.split_at_mut(start + i + 1);
            let past = window.map_or(0, |window| row.len().saturating_sub(window));
            let (past, visible) = row.split_at_mut(past);
            let (largest, sum) = powers::<FMA>(visible, cap, sink);
            let inverse = 1.0 / sum;
            visible.iter_mut().for_each(|x| *x *= inverse);
            past.fill(0.0);
            future.fill(0.0);
            *lse = largest + sum.ln();
        }
    }
}
