//! Outputs from queries, keys and values.

use rayon::prelude::*;

use super::{BLOCK, Gathered, Packed, Scratch, Seen, grown, powers, visible};
use crate::Scoring;
use crate::cpu::Rope;
use crate::cpu::product::{Right, View};
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
    let (d, out_row) = (p.head_dim, p.out_row());
    let (before, all) = seen.tokens(p);
    let n = all - before;
    let heads = grown(&mut s.heads, all * p.row());
    seen.gather(p, rope, heads);
    let heads = Gathered { values: heads, before, all, d };
    for kv in 0..p.kv_heads {
        let keys = Right::lay_out((heads.keys(p, kv), View::columns(d)), (d, all), &mut s.keys);
        let values = Right::lay_out((heads.values(p, kv), View::rows(d)), (all, d), &mut s.values);
        for head in p.group(kv) {
            let sink = scoring.sinks.map(|sinks| sinks[head]);
            for start in (0..n).step_by(BLOCK) {
                let rows = BLOCK.min(n - start);
                let visible = visible(&scoring, before + start, rows);
                let (q, weights) = (View::rows(d).at(start * d), View::rows(visible.len()));
                let scores = grown(&mut s.scores, rows * visible.len());
                let shape = (rows, 0..d, visible.clone());
                keys.multiply(shape, scoring.scale, (heads.queries(head), q), (scores, weights), false);
                softmax(scores, &mut lse[head * n + start..][..rows], scoring.window, scoring.soft_cap, sink);
                let o = View::rows(out_row).at(start * out_row + head * d);
                values.multiply((rows, visible, 0..d), 1.0, (scores, weights), (out, o), false);
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
