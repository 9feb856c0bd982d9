//! Gradients of queries, keys and values.

use rayon::prelude::*;

use super::{BLOCK, Packed, Scratch, Seen, rotate_rows, rotate_rows_back, soft_cap, visible};
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
    let (before, n) = (saved.seen.before.len() / row, saved.seen.own.len() / row);
    let mut sent = vec![0.0; before * p.kv_row()];
    if n == 0 {
        return sent;
    }
    let all = before + n;
    s.reserve(all, d);
    for kv in 0..p.kv_heads {
        saved.seen.keys(p, rope, kv, &mut s.k[..all * d]);
        saved.seen.values(p, kv, &mut s.v[..all * d]);
        s.dk[..all * d].fill(0.0);
        s.dv[..all * d].fill(0.0);
        let laid_out = LaidOut {
            keys: Right::lay_out((&s.k, View::columns(d)), (d, all), &mut s.keys),
            values: Right::lay_out((&s.v, View::columns(d)), (d, all), &mut s.values),
            mixed: Right::lay_out((&s.k, View::rows(d)), (all, d), &mut s.mixed),
        };
        for head in p.group(kv) {
            rotate_rows(rope, before, &saved.seen.own[head * d..], row, &mut s.q[..n * d], d);
            let mut flow = Flow {
                q: &s.q,
                dq: &mut s.dq,
                dk: &mut s.dk,
                dv: &mut s.dv,
                scores: &mut s.scores,
                d_scores: &mut s.d_scores,
            };
            for start in (0..n).step_by(BLOCK) {
                backward_block(p, saved, &laid_out, &mut flow, (head, before, start));
            }
            rotate_rows_back(rope, before, &s.dq[..n * d], &mut dqkv[head * d..], row, d);
        }
        let (k, v) = ((p.heads + kv) * d, (p.heads + p.kv_heads + kv) * d);
        let (shared, own) = s.dk[..all * d].split_at(before * d);
        let (shared_v, own_v) = s.dv[..all * d].split_at(before * d);
        if before > 0 {
            rotate_rows_back(rope, 0, shared, &mut sent[kv * d..], p.kv_row(), d);
            copy_rows(shared_v, &mut sent[(p.kv_heads + kv) * d..], p.kv_row(), d);
        }
        rotate_rows_back(rope, before, own, &mut dqkv[k..], row, d);
        copy_rows(own_v, &mut dqkv[v..], row, d);
    }
    sent
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

/// What a block of a head reads, adds to, and works in.
struct Flow<'a> {
    q: &'a [f32],
    dq: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
    scores: &'a mut [f32],
    d_scores: &'a mut [f32],
}

fn backward_block(
    p: &Packed,
    saved: &Saved<'_>,
    laid_out: &LaidOut<'_>,
    s: &mut Flow<'_>,
    (head, before, start): (usize, usize, usize),
) {
    let (scoring, d, out_row) = (saved.scoring, p.head_dim, p.out_row());
    let n = saved.seen.own.len() / p.row();
    let rows = BLOCK.min(n - start);
    let visible = visible(&scoring, before + start, rows);
    let (first, width) = (visible.start, visible.len());
    let (scores, scores_t) = (View::rows(width), View::columns(width));
    let o_at = start * out_row + head * d;
    let (q, o, seen) = (View::rows(d).at(start * d), View::rows(out_row).at(o_at), View::rows(d).at(first * d));
    let shape = (rows, 0..d, visible.clone());
    laid_out.keys.multiply(shape.clone(), scoring.scale, (s.q, q), (s.scores, scores), false);
    laid_out.values.multiply(shape, 1.0, (saved.dout, o), (s.d_scores, scores), false);
    softmax_backward(
        &mut s.scores[..rows * width],
        &mut s.d_scores[..rows * width],
        &saved.lse[head * n + start..][..rows],
        &saved.out[o_at..],
        &saved.dout[o_at..],
        out_row,
        d,
        scoring.scale,
        scoring.window,
        scoring.soft_cap,
    );
    product((width, d, rows), 1.0, (s.scores, scores_t), (saved.dout, o), (s.dv, seen), true, 1);
    laid_out.mixed.multiply((rows, visible, 0..d), 1.0, (s.d_scores, scores), (s.dq, q), false);
    product((width, d, rows), 1.0, (s.d_scores, scores_t), (s.q, q), (s.dk, seen), true, 1);
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
        scores: &mut [f32], d_scores: &mut [f32], lse: &[f32], out: &[f32], dout: &[f32], out_row: usize, d: usize, scale: f32,
        window: Option<usize>, cap: Option<f32>,
    ) {
        let seen = scores.len() / lse.len();
        let start = seen - lse.len();
        let rows = scores.chunks_exact_mut(seen).zip(d_scores.chunks_exact_mut(seen));
        for (i, (p, ds)) in rows.enumerate() {
            let inner = dot(&out[i * out_row..][..d], &dout[i * out_row..][..d]);
            let sees = start + i + 1;
            let past = window.map_or(0, |window| sees.saturating_sub(window));
            for unseen in [0..past, sees..seen] {
                p[unseen.clone()].fill(0.0);
                ds[unseen].fill(0.0);
            }
            let visible = p[past..sees].iter_mut().zip(&mut ds[past..sees]);
            match cap {
                None => visible.for_each(|(p, ds)| {
                    *p = exp::<FMA>(*p - lse[i]);
                    *ds = *p * (*ds - inner) * scale;
                }),
                Some(cap) => visible.for_each(|(p, ds)| {
                    let score = soft_cap::<FMA>(*p, cap);
                    *p = exp::<FMA>(score - lse[i]);
                    *ds = *p * (*ds - inner) * (1.0 - (score / cap) * (score / cap)) * scale;
                }),
            }
        }
    }
}
