//! Causal grouped-query attention (Ainslie et al., arXiv:2305.13245) with rotary positions, over packed segments.
//!
//! Segments lie end to end. One without a parent is a sequence, and its positions start at 0; one with a parent goes on where that
//! ends. A token's row of `qkv[tokens, (heads + 2 kv_heads) d]` holds its queries,
//! keys and values, and query head `h` reads key and value head `h / (heads / kv_heads)`. With `q'`, `k'` the [rotated](super::rotate)
//! queries and keys, and `j` running over the tokens of the parent and those of `i`'s segment up to `i` itself:
//!
//! ```text
//! s_ij = scale q'_i . k'_j          p_i = softmax_j(s_i)      out_i = sum_j p_ij v_j
//! ```
//!
//! A [`Scoring`] may narrow what `j` runs over to a window, cap `s` to `c tanh(s / c)`, and add to the softmax a sink that has no value.
//!
//! Backward from `do_i`, the gradient of `out_i`:
//!
//! ```text
//! dp_ij = do_i . v_j                ds_ij = p_ij (dp_ij - sum_l p_il dp_il)
//! dv_j = sum_i p_ij do_i            dq'_i = sum_j scale ds_ij k'_j          dk'_j = sum_i scale ds_ij q'_i
//! ```
//!
//! with sums over `i` running over every token that sees `j`, and over the query heads that share the key head; `dq` and `dk` are `dq'` and
//! `dk'` turned back. A cap multiplies `ds` by its slope `1 - (s / c)^2`, and a sink of probability `p` receives `-p sum_l p_il dp_il`.

use super::rope::rotate;
use crate::{Scoring, Segment};

/// Shapes of packed segments and heads.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The segments, in the order of their rows.
    pub segments: Vec<Segment>,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width `d` of a head.
    pub head_dim: usize,
    /// Base of the rotary angles.
    pub theta: f64,
}

/// What one query sees, and how much of it.
struct Look<'a> {
    /// Its token.
    token: usize,
    /// Its head.
    head: usize,
    /// Its position.
    position: usize,
    /// The position of the first token it sees.
    first: usize,
    /// The tokens it sees, in order.
    seen: &'a [usize],
    /// Their scores.
    scores: Vec<f64>,
    /// Their probabilities.
    p: Vec<f64>,
    /// What the sink takes.
    sunk: f64,
}

/// `out[tokens, heads d]` from `qkv[tokens, (heads + 2 kv_heads) d]`.
#[must_use]
pub fn attention(packed: &Packed, scoring: Scoring<'_, f64>, qkv: &[f64]) -> Vec<f64> {
    let (heads, d) = (packed.heads, packed.head_dim);
    let mut out = vec![0.0; packed.tokens() * heads * d];
    packed.for_each_query(scoring, qkv, |look| {
        for (j, p) in look.seen.iter().zip(&look.p) {
            let v = packed.value(qkv, *j, look.head);
            for c in 0..d {
                out[(look.token * heads + look.head) * d + c] += p * v[c];
            }
        }
    });
    out
}

/// `dqkv[tokens, (heads + 2 kv_heads) d]` and the gradient of the sinks `[heads]` from `dout[tokens, heads d]`.
#[must_use]
pub fn attention_backward(
    packed: &Packed,
    scoring: Scoring<'_, f64>,
    qkv: &[f64],
    dout: &[f64],
) -> (Vec<f64>, Vec<f64>) {
    let (d, theta) = (packed.head_dim, packed.theta);
    let (mut dqkv, mut d_sinks) = (vec![0.0; qkv.len()], vec![0.0; packed.heads]);
    packed.for_each_query(scoring, qkv, |look| {
        let Look { token, head, position, .. } = look;
        let dout = &dout[(token * packed.heads + head) * d..][..d];
        let dp: Vec<f64> = look.seen.iter().map(|j| dot(dout, packed.value(qkv, *j, head))).collect();
        let mean = dot(&look.p, &dp);
        d_sinks[head] -= look.sunk * mean;
        let q = packed.query(qkv, token, position, head);
        let mut dq = vec![0.0; d];
        for (at, j) in look.seen.iter().enumerate() {
            let slope = scoring.soft_cap.map_or(1.0, |cap| 1.0 - (look.scores[at] / cap).powi(2));
            let ds = look.p[at] * (dp[at] - mean) * slope * scoring.scale;
            let k = packed.key(qkv, *j, look.first + at, head);
            let dk: Vec<f64> = q.iter().map(|q| ds * q).collect();
            let dv: Vec<f64> = dout.iter().map(|dout| look.p[at] * dout).collect();
            add(&mut dqkv[packed.key_at(*j, head)..], &rotate(&dk, look.first + at, theta, -1.0));
            add(&mut dqkv[packed.value_at(*j, head)..], &dv);
            dq.iter_mut().zip(&k).for_each(|(dq, k)| *dq += ds * k);
        }
        add(&mut dqkv[packed.query_at(token, head)..], &rotate(&dq, position, theta, -1.0));
    });
    (dqkv, d_sinks)
}

impl Packed {
    /// Tokens of all segments.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.segments.iter().map(|segment| segment.tokens).sum()
    }

    fn for_each_query(&self, scoring: Scoring<'_, f64>, qkv: &[f64], mut f: impl FnMut(Look<'_>)) {
        let mut rows: Vec<std::ops::Range<usize>> = Vec::new();
        for segment in &self.segments {
            let first = rows.last().map_or(0, |rows| rows.end);
            let mut before: Vec<usize> = segment.parent.map_or(0..0, |parent| rows[parent].clone()).collect();
            rows.push(first..first + segment.tokens);
            for token in first..first + segment.tokens {
                before.push(token);
                for head in 0..self.heads {
                    f(self.look(scoring, qkv, &before, head));
                }
            }
        }
    }

    /// What the last token of `before` sees of it.
    fn look<'a>(&self, scoring: Scoring<'_, f64>, qkv: &[f64], before: &'a [usize], head: usize) -> Look<'a> {
        let position = before.len() - 1;
        let (token, first) = (before[position], scoring.first(position));
        let seen = &before[first..];
        let q = self.query(qkv, token, position, head);
        let score = |(at, j): (usize, &usize)| {
            let s = dot(&q, &self.key(qkv, *j, first + at, head)) * scoring.scale;
            scoring.soft_cap.map_or(s, |cap| cap * (s / cap).tanh())
        };
        let scores: Vec<f64> = seen.iter().enumerate().map(score).collect();
        let sink = scoring.sinks.map_or(f64::NEG_INFINITY, |sinks| sinks[head]);
        let largest = scores.iter().copied().fold(sink, f64::max);
        let sum = scores.iter().map(|s| (s - largest).exp()).sum::<f64>() + (sink - largest).exp();
        let p = scores.iter().map(|s| (s - largest).exp() / sum).collect();
        Look { token, head, position, first, seen, scores, p, sunk: (sink - largest).exp() / sum }
    }

    fn query(&self, qkv: &[f64], token: usize, position: usize, head: usize) -> Vec<f64> {
        rotate(&qkv[self.query_at(token, head)..][..self.head_dim], position, self.theta, 1.0)
    }

    fn key(&self, qkv: &[f64], token: usize, position: usize, head: usize) -> Vec<f64> {
        rotate(&qkv[self.key_at(token, head)..][..self.head_dim], position, self.theta, 1.0)
    }

    fn value<'a>(&self, qkv: &'a [f64], token: usize, head: usize) -> &'a [f64] {
        &qkv[self.value_at(token, head)..][..self.head_dim]
    }

    fn query_at(&self, token: usize, head: usize) -> usize {
        (token * (self.heads + 2 * self.kv_heads) + head) * self.head_dim
    }

    fn key_at(&self, token: usize, head: usize) -> usize {
        self.query_at(token, self.heads + head / (self.heads / self.kv_heads))
    }

    fn value_at(&self, token: usize, head: usize) -> usize {
        self.key_at(token, head) + self.kv_heads * self.head_dim
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

#[cfg(test)]
mod tests {
    use super::super::check::{assert_gradient, numbers};
    use super::*;

    const PLAIN: Scoring<'static, f64> =
        Scoring { scale: std::f64::consts::FRAC_1_SQRT_2, window: None, soft_cap: None, sinks: None };

    fn packed(lengths: &[usize]) -> Packed {
        let segments = lengths.iter().copied().map(Segment::alone).collect();
        Packed { segments, heads: 4, kv_heads: 2, head_dim: 2, theta: 100.0 }
    }

    /// A prefix of 3 tokens, a sequence of 2, and two sequences that go on after the prefix with 2 and 1.
    fn shared() -> Packed {
        let child = |tokens| Segment { tokens, parent: Some(0) };
        Packed { segments: vec![Segment::alone(3), Segment::alone(2), child(2), child(1)], ..packed(&[]) }
    }

    #[test]
    fn a_first_token_sees_only_its_own_value() {
        let qkv = numbers(1, 16);
        // Query heads 0 and 1 read value head 0 (entries 12, 13), heads 2 and 3 value head 1 (entries 14, 15).
        let expected: Vec<f64> = [12, 13, 12, 13, 14, 15, 14, 15].map(|i| qkv[i]).to_vec();
        assert_eq!(attention(&packed(&[1]), PLAIN, &qkv), expected);
    }

    #[test]
    fn packed_sequences_do_not_see_one_another() {
        let qkv = numbers(2, 5 * 16);
        let together = attention(&packed(&[3, 0, 2]), PLAIN, &qkv);
        let apart = [attention(&packed(&[3]), PLAIN, &qkv[..48]), attention(&packed(&[2]), PLAIN, &qkv[48..])].concat();
        assert_eq!(together, apart);
    }

    #[test]
    fn a_token_does_not_see_what_follows() {
        let qkv = numbers(3, 5 * 16);
        assert_eq!(attention(&packed(&[5]), PLAIN, &qkv)[..24], attention(&packed(&[3]), PLAIN, &qkv[..48]));
    }

    #[test]
    fn what_follows_a_parent_is_as_if_it_stood_right_behind_it() {
        let qkv = numbers(6, 8 * 16);
        let rows = |from: usize, to: usize| &qkv[from * 16..to * 16];
        let shared = attention(&shared(), PLAIN, &qkv);
        let first = attention(&packed(&[5]), PLAIN, &[rows(0, 3), rows(5, 7)].concat());
        let second = attention(&packed(&[4]), PLAIN, &[rows(0, 3), rows(7, 8)].concat());
        assert_eq!(shared[5 * 8..], [&first[3 * 8..], &second[3 * 8..]].concat());
        assert_eq!(shared[..5 * 8], attention(&packed(&[3, 2]), PLAIN, rows(0, 5)));
    }

    #[test]
    fn the_gradient_of_shared_beginnings_agrees_with_finite_differences() {
        let packed = shared();
        let (qkv, dout) = (numbers(7, 8 * 16), numbers(8, 8 * 8));
        assert_gradient(&qkv, &dout, &attention_backward(&packed, PLAIN, &qkv, &dout).0, |qkv| {
            attention(&packed, PLAIN, qkv)
        });
    }

    #[test]
    fn the_gradient_agrees_with_finite_differences() {
        let packed = packed(&[3, 1, 4]);
        let (qkv, dout) = (numbers(4, 8 * 16), numbers(5, 8 * 8));
        assert_gradient(&qkv, &dout, &attention_backward(&packed, PLAIN, &qkv, &dout).0, |qkv| {
            attention(&packed, PLAIN, qkv)
        });
    }

    #[test]
    fn a_window_of_one_shows_a_token_its_own_value_and_a_wide_one_everything() {
        let qkv = numbers(9, 4 * 16);
        let narrow = attention(&packed(&[4]), Scoring { window: Some(1), ..PLAIN }, &qkv);
        let apart: Vec<f64> = qkv.chunks(16).flat_map(|row| attention(&packed(&[1]), PLAIN, row)).collect();
        assert_eq!(narrow, apart);
        let wide = attention(&packed(&[4]), Scoring { window: Some(4), ..PLAIN }, &qkv);
        assert_eq!(wide, attention(&packed(&[4]), PLAIN, &qkv));
    }

    #[test]
    fn a_sink_takes_its_share() {
        // One token sees itself at a score of 0 beside a sink of ln 3: it keeps a quarter of its value.
        let mut qkv = numbers(10, 16);
        qkv[..12].fill(0.0);
        let sinks = [3f64.ln(); 4];
        let out = attention(&packed(&[1]), Scoring { sinks: Some(&sinks), ..PLAIN }, &qkv);
        assert!(out.iter().zip(attention(&packed(&[1]), PLAIN, &qkv)).all(|(a, b)| (a - b / 4.0).abs() < 1e-12));
    }

    #[test]
    fn gradients_under_windows_caps_and_sinks_agree_with_finite_differences() {
        let (qkv, dout, sinks) = (numbers(11, 8 * 16), numbers(12, 8 * 8), numbers(13, 4));
        fn with(sinks: &[f64]) -> Scoring<'_, f64> {
            Scoring { scale: 0.9, window: Some(3), soft_cap: Some(0.8), sinks: Some(sinks) }
        }
        for packed in [packed(&[3, 1, 4]), shared()] {
            let (dqkv, d_sinks) = attention_backward(&packed, with(&sinks), &qkv, &dout);
            assert_gradient(&qkv, &dout, &dqkv, |qkv| attention(&packed, with(&sinks), qkv));
            assert_gradient(&sinks, &dout, &d_sinks, |sinks| attention(&packed, with(sinks), &qkv));
        }
    }
}
