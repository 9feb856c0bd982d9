//! Gradients of queries, keys and values.

use rayon::prelude::*;

use super::{BLOCK, Gathered, Packed, Scratch, Seen, grown, rotate_rows_back, soft_cap, visible};
use crate::Scoring;
use crate::cpu::Rope;
use crate::cpu::product::{Right, View, product};
use crate::cpu::simd::{dot, exp, multiversion};

/// `dqkv` from `dout`, with the inputs, output and `lse` of [`attention`](super::attention).
///
/// # Panics
/// As there.
#[allow(clippy::too_many_arguments)]
pub fn attention_backward(
    packed: &Packed,
    rope: &Rope,
    scoring: Scoring<'_, f32>,
    qkv: &[f32],
    out: &[f32],
    dout: &[f32],
    lse: &[f32],
    dqkv: &mut [f32],
) {
    packed.check();
    let parts = packed.split(qkv, packed.row());
    let saved = packed.split(out, packed.out_row()).into_par_iter().zip(packed.split(lse, packed.heads));
    let flow = packed.split(dout, packed.out_row()).into_par_iter().zip(packed.split_mut(dqkv, packed.row()));
    let tasks = saved.zip(flow).enumerate();
    let sent = tasks.map_init(Scratch::default, |scratch, (i, ((out, lse), (dout, dqkv)))| {
        let saved = Saved { seen: Seen::of(packed, &parts, i), scoring, out, dout, lse };
        backward_segment(packed, rope, &saved, dqkv, scratch)
    });
    let sent: Vec<Vec<f32>> = sent.collect();
    let keys = packed.heads * packed.head_dim;
    packed.split_mut(dqkv, packed.row()).into_par_iter().enumerate().for_each(|(parent, dqkv)| {
        let children = packed.segments.iter().zip(&sent).filter(|(segment, _)| segment.parent == Some(parent));
        for (_, sent) in children {
            for (to, from) in dqkv.chunks_exact_mut(packed.row()).zip(sent.chunks_exact(packed.kv_row())) {
                to[keys..].iter_mut().zip(from).for_each(|(to, from)| *to += from);
            }
        }
    });
}

struct Saved<'a> {
    seen: Seen<'a>,
    scoring: Scoring<'a, f32>,
    out: &'a [f32],
    dout: &'a [f32],
    lse: &'a [f32],
}

/// Fills a segment's own `dqkv`, and returns the gradients of its parent's keys and values `[parent's tokens, 2 kv_heads * head_dim]`.
fn backward_segment(p: &Packed, rope: &Rope, saved: &Saved<'_>, dqkv: &mut [f32], s: &mut Scratch) -> Vec<f32> {
    let (d, row) = (p.head_dim, p.row());
    let (before, all) = saved.seen.tokens(p);
    let n = all - before;
    let mut sent = vec![0.0; before * p.kv_row()];
    if n == 0 {
        return sent;
    }
    let heads = grown(&mut s.heads, all * row);
    saved.seen.gather(p, rope, heads);
    let (dout, inner) = (grown(&mut s.dout, n * p.out_row()), grown(&mut s.inner, n * p.heads));
    gather_flow(saved.out, saved.dout, p.heads, d, dout, inner);
    let given = Given { saved, heads: Gathered { values: heads, before, all, d }, dout, inner };
    let (dk, dv) = (grown(&mut s.dk, all * d), grown(&mut s.dv, all * d));
    for kv in 0..p.kv_heads {
        dk.fill(0.0);
        dv.fill(0.0);
        let (k, v) = (given.heads.keys(p, kv), given.heads.values(p, kv));
        let laid_out = LaidOut {
            keys: Right::lay_out((k, View::columns(d)), (d, all), &mut s.keys),
            values: Right::lay_out((v, View::columns(d)), (d, all), &mut s.values),
            mixed: Right::lay_out((k, View::rows(d)), (all, d), &mut s.mixed),
        };
        for head in p.group(kv) {
            let dq = grown(&mut s.dq, n * d);
            let mut flow = Flow { dq, dk, dv, scores: &mut s.scores, d_scores: &mut s.d_scores };
            for start in (0..n).step_by(BLOCK) {
                backward_block(&given, &laid_out, &mut flow, head, start);
            }
            rotate_rows_back(rope, before, dq, &mut dqkv[head * d..], row, d);
        }
        let (k, v) = ((p.heads + kv) * d, (p.heads + p.kv_heads + kv) * d);
        let (shared, own) = dk.split_at(before * d);
        let (shared_v, own_v) = dv.split_at(before * d);
        if before > 0 {
            rotate_rows_back(rope, 0, shared, &mut sent[kv * d..], p.kv_row(), d);
            copy_rows(shared_v, &mut sent[(p.kv_heads + kv) * d..], p.kv_row(), d);
        }
        rotate_rows_back(rope, before, own, &mut dqkv[k..], row, d);
        copy_rows(own_v, &mut dqkv[v..], row, d);
    }
    sent
}

multiversion! {
    /// Gradients of outputs `[tokens, heads * d]` to `to[heads, tokens, d]`, and their inner products with the outputs to
    /// `inner[heads, tokens]`: what every gradient of a probability is measured from (Dao, arXiv:2307.08691).
    fn gather_flow(out: &[f32], dout: &[f32], heads: usize, d: usize, to: &mut [f32], inner: &mut [f32]) {
        let n = inner.len() / heads;
        for (i, (out, dout)) in out.chunks_exact(heads * d).zip(dout.chunks_exact(heads * d)).enumerate() {
            for (head, (out, dout)) in out.chunks_exact(d).zip(dout.chunks_exact(d)).enumerate() {
                inner[head * n + i] = dot(out, dout);
                to[(head * n + i) * d..][..d].copy_from_slice(dout);
            }
        }
    }
}

fn copy_rows(from: &[f32], to: &mut [f32], row: usize, d: usize) {
    for (from, to) in from.chunks_exact(d).zip(to.chunks_mut(row)) {
        to[..d].copy_from_slice(from);
    }
}

/// A key head's keys and values, laid out.
struct LaidOut<'a> {
    /// Keys, for scores.
    keys: Right<'a>,
    /// Values, for gradients of probabilities.
    values: Right<'a>,
    /// Keys again, mixed by gradients of scores.
    mixed: Right<'a>,
}

/// What a block of a head is made from.
struct Given<'a> {
    saved: &'a Saved<'a>,
    heads: Gathered<'a>,
    /// `[heads, tokens, head_dim]` and `[heads, tokens]`, as [`gather_flow`] leaves them.
    dout: &'a [f32],
    inner: &'a [f32],
}

/// What a block of a head adds to and works in.
struct Flow<'a> {
    dq: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
    scores: &'a mut Vec<f32>,
    d_scores: &'a mut Vec<f32>,
}

fn backward_block(given: &Given<'_>, laid_out: &LaidOut<'_>, s: &mut Flow<'_>, head: usize, start: usize) {
    let (scoring, Gathered { before, all, d, .. }) = (given.saved.scoring, given.heads);
    let n = all - before;
    let rows = BLOCK.min(n - start);
    let visible = visible(&scoring, before + start, rows);
    let (first, width) = (visible.start, visible.len());
    let (at, q, dout) = (head * n + start, given.heads.queries(head), &given.dout[head * n * d..][..n * d]);
    let (own, seen) = (View::rows(d).at(start * d), View::rows(d).at(first * d));
    let (along, across) = (View::rows(width), View::columns(width));
    let (p, dp) = (grown(s.scores, rows * width), grown(s.d_scores, rows * width));
    let shape = (rows, 0..d, visible.clone());
    laid_out.keys.multiply(shape.clone(), scoring.scale, (q, own), (p, along), false);
    laid_out.values.multiply(shape, 1.0, (dout, own), (dp, along), false);
    let (lse, inner) = (&given.saved.lse[at..][..rows], &given.inner[at..][..rows]);
    softmax_backward(p, dp, lse, inner, scoring.scale, scoring.window, scoring.soft_cap);
    product((width, d, rows), 1.0, (p, across), (dout, own), (s.dv, seen), true, 1);
    laid_out.mixed.multiply((rows, visible, 0..d), 1.0, (dp, along), (s.dq, own), false);
    product((width, d, rows), 1.0, (dp, across), (q, own), (s.dk, seen), true, 1);
}

/// Adds to `d_sinks[heads]` what comes from `dout`, with the output and `lse` of [`attention`](super::attention). A sink gives nothing, so
/// what it takes is missed by all others alike.
pub fn sinks_backward(packed: &Packed, sinks: &[f32], out: &[f32], dout: &[f32], lse: &[f32], d_sinks: &mut [f32]) {
    let d = packed.head_dim;
    let rows = packed.split(out, packed.out_row()).into_iter().zip(packed.split(dout, packed.out_row()));
    let segments: Vec<_> = rows.zip(packed.split(lse, packed.heads)).collect();
    d_sinks.par_iter_mut().zip(sinks).enumerate().for_each(|(head, (d_sink, sink))| {
        for ((out, dout), lse) in &segments {
            let lse = lse.chunks_exact((lse.len() / packed.heads).max(1)).nth(head).unwrap_or_default();
            let rows = out.chunks_exact(packed.out_row()).zip(dout.chunks_exact(packed.out_row()));
            for ((out, dout), lse) in rows.zip(lse) {
                *d_sink -= (sink - lse).exp() * dot(&out[head * d..][..d], &dout[head * d..][..d]);
            }
        }
    });
}

multiversion! {
    /// Raw scores to probabilities, and gradients of probabilities to gradients of raw scores (times `scale`), in place.
    fn softmax_backward<const FMA: bool>(
        scores: &mut [f32], d_scores: &mut [f32], lse: &[f32], inner: &[f32], scale: f32, window: Option<usize>, cap: Option<f32>,
    ) {
        let seen = scores.len() / lse.len();
        let start = seen - lse.len();
        let rows = scores.chunks_exact_mut(seen).zip(d_scores.chunks_exact_mut(seen));
        for (i, (p, ds)) in rows.enumerate() {
            let (lse, inner) = (lse[i], inner[i]);
            let sees = start + i + 1;
            let past = window.map_or(0, |window| sees.saturating_sub(window));
            for unseen in [0..past, sees..seen] {
                p[unseen.clone()].fill(0.0);
                ds[unseen].fill(0.0);
            }
            let visible = p[past..sees].iter_mut().zip(&mut ds[past..sees]);
            match cap {
                None => visible.for_each(|(p, ds)| {
                    *p = exp::<FMA>(*p - lse);
                    *ds = *p * (*ds - inner) * scale;
                }),
                Some(cap) => visible.for_each(|(p, ds)| {
                    let score = soft_cap::<FMA>(*p, cap);
                    *p = exp::<FMA>(score - lse);
                    *ds = *p * (*ds - inner) * (1.0 - (score / cap) * (score / cap)) * scale;
                }),
            }
        }
    }
}
