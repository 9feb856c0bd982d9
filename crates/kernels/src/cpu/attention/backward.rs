//! Gradients of queries, keys and values.

use rayon::prelude::*;

use super::{BLOCK, Packed, Scratch, Seen, rotate_rows, rotate_rows_back};
use crate::cpu::Rope;
use crate::cpu::linear::{View, product};
use crate::cpu::simd::{dot, exp, multiversion};

/// `dqkv` from `dout`, with the inputs, output and `lse` of [`attention`](super::attention).
///
/// # Panics
/// As there.
pub fn attention_backward(
    packed: &Packed,
    rope: &Rope,
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
        let saved = Saved { seen: Seen::of(packed, &parts, i), out, dout, lse };
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
    let Seen { before: parent, own } = saved.seen;
    let (d, out_row) = (p.head_dim, p.out_row());
    let (before, n) = (parent.len() / p.row(), own.len() / p.row());
    let rows = BLOCK.min(n - start);
    let visible = start + rows;
    let width = before + visible;
    let (scores, scores_t) = (View::rows(width), View::columns(width));
    let v_at = (p.heads + p.kv_heads + kv) * d;
    let v_t = View::columns(p.row()).at(v_at);
    let q = View::rows(d).at(start * d);
    let o_at = start * out_row + head * d;
    let o = View::rows(out_row).at(o_at);
    product((rows, width, d), p.scale(), (&s.q, q), (&s.k, View::columns(d)), (&mut s.scores, scores), false, 1);
    product((rows, before, d), 1.0, (saved.dout, o), (parent, v_t), (&mut s.d_scores, scores), false, 1);
    product((rows, visible, d), 1.0, (saved.dout, o), (own, v_t), (&mut s.d_scores, scores.at(before)), false, 1);
    let block = rows * width;
    let (out, dout) = (&saved.out[o_at..], &saved.dout[o_at..]);
    let lse = &saved.lse[head * n + start..][..rows];
    softmax_backward(&mut s.scores[..block], &mut s.d_scores[..block], lse, out, dout, out_row, d, p.scale());
    let shared_v = View::rows(p.kv_row()).at((p.kv_heads + kv) * d);
    product((before, d, rows), 1.0, (&s.scores, scores_t), (saved.dout, o), (sent, shared_v), true, 1);
    let (own_t, dv) = (scores_t.at(before), View::rows(p.row()).at(v_at));
    product((visible, d, rows), 1.0, (&s.scores, own_t), (saved.dout, o), (dqkv, dv), true, 1);
    product((rows, d, width), 1.0, (&s.d_scores, scores), (&s.k, View::rows(d)), (&mut s.dq, q), false, 1);
    product((width, d, rows), 1.0, (&s.d_scores, scores_t), (&s.q, q), (&mut s.dk, View::rows(d)), true, 1);
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
