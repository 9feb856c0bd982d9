//! Gradients of queries, keys and values.

use rayon::prelude::*;

use super::{BLOCK, Packed, Scratch, Seen, rotate_rows, rotate_rows_back, soft_cap};
use crate::Scoring;
use crate::cpu::Rope;
use crate::cpu::linear::{View, product};
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
    s.reserve(before + n, d);
    dqkv.fill(0.0);
    for kv in 0..p.kv_heads {
        saved.seen.keys(p, rope, kv, &mut s.k[..(before + n) * d]);
        s.dk[..(before + n) * d].fill(0.0);
        for head in p.group(kv) {
            rotate_rows(rope, before, &saved.seen.own[head * d..], row, &mut s.q[..n * d], d);
            for start in (0..n).step_by(BLOCK) {
                backward_block(p, saved, dqkv, &mut sent, s, (kv, head, start));
            }
            rotate_rows_back(rope, before, &s.dq[..n * d], &mut dqkv[head * d..], row, d);
        }
        let (shared, own) = s.dk[..(before + n) * d].split_at(before * d);
        if before > 0 {
            rotate_rows_back(rope, 0, shared, &mut sent[kv * d..], p.kv_row(), d);
        }
        rotate_rows_back(rope, before, own, &mut dqkv[(p.heads + kv) * d..], row, d);
    }
    sent
}

fn backward_block(
    p: &Packed,
    saved: &Saved<'_>,
    dqkv: &mut [f32],
    sent: &mut [f32],
    s: &mut Scratch,
    (kv, head, start): (usize, usize, usize),
) {
    let (Seen { before: parent, own }, scoring) = (saved.seen, saved.scoring);
    let (d, row, out_row) = (p.head_dim, p.row(), p.out_row());
    let (before, n) = (parent.len() / row, own.len() / row);
    let rows = BLOCK.min(n - start);
    let first = scoring.first(before + start);
    let width = before + start + rows - first;
    let (shared, from) = saved.seen.from(p, first);
    let visible = width - shared;
    let (scores, scores_t) = (View::rows(width), View::columns(width));
    let v = (p.heads + p.kv_heads + kv) * d;
    let (theirs, ours) = (View::columns(row).at(first * row + v), View::columns(row).at(from * row + v));
    let (q, k) = (View::rows(d).at(start * d), View::rows(d).at(first * d));
    let k_t = View::columns(d).at(first * d);
    let o_at = start * out_row + head * d;
    let o = View::rows(out_row).at(o_at);
    product((rows, width, d), scoring.scale, (&s.q, q), (&s.k, k_t), (&mut s.scores, scores), false, 1);
    product((rows, shared, d), 1.0, (saved.dout, o), (parent, theirs), (&mut s.d_scores, scores), false, 1);
    product((rows, visible, d), 1.0, (saved.dout, o), (own, ours), (&mut s.d_scores, scores.at(shared)), false, 1);
    let block = rows * width;
    let (out, dout) = (&saved.out[o_at..], &saved.dout[o_at..]);
    let lse = &saved.lse[head * n + start..][..rows];
    softmax_backward(
        &mut s.scores[..block],
        &mut s.d_scores[..block],
        lse,
        out,
        dout,
        out_row,
        d,
        scoring.scale,
        scoring.window,
        scoring.soft_cap,
    );
    let shared_v = View::rows(p.kv_row()).at(first * p.kv_row() + (p.kv_heads + kv) * d);
    product((shared, d, rows), 1.0, (&s.scores, scores_t), (saved.dout, o), (sent, shared_v), true, 1);
    let (own_t, dv) = (scores_t.at(shared), View::rows(row).at(from * row + v));
    product((visible, d, rows), 1.0, (&s.scores, own_t), (saved.dout, o), (dqkv, dv), true, 1);
    product((rows, d, width), 1.0, (&s.d_scores, scores), (&s.k, k), (&mut s.dq, q), false, 1);
    product((width, d, rows), 1.0, (&s.d_scores, scores_t), (&s.q, q), (&mut s.dk, k), true, 1);
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
