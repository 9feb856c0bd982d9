//! Causal grouped-query attention (Ainslie et al., arXiv:2305.13245) with rotary positions, over packed segments.
//!
//! Segments lie end to end. One without a parent is a sequence, and its positions start at 0; one with a parent goes on where that
//! ends. A token's row of `qkv[tokens, (heads + 2 kv_heads) d]` holds its queries,
//! keys and values, and query head `h` reads key and value head `h / (heads / kv_heads)`. With `q'`, `k'` the [rotated](super::rotate)
//! queries and keys, and `j` running over the tokens of the parent and those of `i`'s segment up to `i` itself:
//!
//! ```text
//! s_ij = q'_i . k'_j / sqrt(d)      p_i = softmax_j(s_i)      out_i = sum_j p_ij v_j
//! ```
//!
//! Backward from `do_i`, the gradient of `out_i`:
//!
//! ```text
//! dp_ij = do_i . v_j                ds_ij = p_ij (dp_ij - sum_l p_il dp_il)
//! dv_j = sum_i p_ij do_i            dq'_i = sum_j ds_ij k'_j / sqrt(d)      dk'_j = sum_i ds_ij q'_i / sqrt(d)
//! ```
//!
//! with sums over `i` running over every token that sees `j`, and over the query heads that share the key head; `dq` and `dk` are `dq'` and `dk'` turned back.

use super::rope::rotate;
use crate::Segment;

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

/// `out[tokens, heads d]` from `qkv[tokens, (heads + 2 kv_heads) d]`.
#[must_use]
pub fn attention(packed: &Packed, qkv: &[f64]) -> Vec<f64> {
    let (heads, d) = (packed.heads, packed.head_dim);
    let mut out = vec![0.0; packed.tokens() * heads * d];
    packed.for_each_query(qkv, |seen, token, head, p| {
        for (j, p) in seen.iter().zip(p) {
            let v = packed.value(qkv, *j, head);
            for c in 0..d {
                out[(token * heads + head) * d + c] += p * v[c];
            }
        }
    });
    out
}

/// `dqkv[tokens, (heads + 2 kv_heads) d]` from `dout[tokens, heads d]`.
#[must_use]
pub fn attention_backward(packed: &Packed, qkv: &[f64], dout: &[f64]) -> Vec<f64> {
    let (d, theta, scale) = (packed.head_dim, packed.theta, packed.scale());
    let mut dqkv = vec![0.0; qkv.len()];
    packed.for_each_query(qkv, |seen, token, head, p| {
        let dout = &dout[(token * packed.heads + head) * d..][..d];
        let dp: Vec<f64> = seen.iter().map(|j| dot(dout, packed.value(qkv, *j, head))).collect();
        let mean = dot(p, &dp);
        let position = seen.len() - 1;
        let q = packed.query(qkv, token, position, head);
        let mut dq = vec![0.0; d];
        for (at, j) in seen.iter().enumerate() {
            let ds = p[at] * (dp[at] - mean) * scale;
            let k = packed.key(qkv, *j, at, head);
            let dk: Vec<f64> = q.iter().map(|q| ds * q).collect();
            let dv: Vec<f64> = dout.iter().map(|dout| p[at] * dout).collect();
            add(&mut dqkv[packed.key_at(*j, head)..], &rotate(&dk, at, theta, -1.0));
            add(&mut dqkv[packed.value_at(*j, head)..], &dv);
            dq.iter_mut().zip(&k).for_each(|(dq, k)| *dq += ds * k);
        }
        add(&mut dqkv[packed.query_at(token, head)..], &rotate(&dq, position, theta, -1.0));
    });
    dqkv
}

impl Packed {
    /// Tokens of all segments.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.segments.iter().map(|segment| segment.tokens).sum()
    }

    /// Calls `f(the tokens seen, in order of their positions, the last of which is the query's own; query's token; query head;
    /// probabilities of the tokens seen)` for every query.
    fn for_each_query(&self, qkv: &[f64], mut f: impl FnMut(&[usize], usize, usize, &[f64])) {
        let mut rows: Vec<std::ops::Range<usize>> = Vec::new();
        for segment in &self.segments {
            let first = rows.last().map_or(0, |rows| rows.end);
            let mut seen: Vec<usize> = segment.parent.map_or(0..0, |parent| rows[parent].clone()).collect();
            rows.push(first..first + segment.tokens);
            for token in first..first + segment.tokens {
                seen.push(token);
                for head in 0..self.heads {
                    f(&seen, token, head, &self.probabilities(qkv, &seen, head));
                }
            }
        }
    }

    /// Of the tokens in `seen`, for the last of them.
    fn probabilities(&self, qkv: &[f64], seen: &[usize], head: usize) -> Vec<f64> {
        let position = seen.len() - 1;
        let q = self.query(qkv, seen[position], position, head);
        let score = |(at, j): (usize, &usize)| dot(&q, &self.key(qkv, *j, at, head)) * self.scale();
        let scores: Vec<f64> = seen.iter().enumerate().map(score).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
        scores.iter().map(|s| (s - largest).exp() / sum).collect()
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

    fn scale(&self) -> f64 {
        1.0 / (self.head_dim as f64).sqrt()
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
        assert_eq!(attention(&packed(&[1]), &qkv), expected);
    }

    #[test]
    fn packed_sequences_do_not_see_one_another() {
        let qkv = numbers(2, 5 * 16);
        let together = attention(&packed(&[3, 0, 2]), &qkv);
        let apart = [attention(&packed(&[3]), &qkv[..48]), attention(&packed(&[2]), &qkv[48..])].concat();
        assert_eq!(together, apart);
    }

    #[test]
    fn a_token_does_not_see_what_follows() {
        let qkv = numbers(3, 5 * 16);
        assert_eq!(attention(&packed(&[5]), &qkv)[..24], attention(&packed(&[3]), &qkv[..48]));
    }

    #[test]
    fn what_follows_a_parent_is_as_if_it_stood_right_behind_it() {
        let qkv = numbers(6, 8 * 16);
        let rows = |from: usize, to: usize| &qkv[from * 16..to * 16];
        let shared = attention(&shared(), &qkv);
        let first = attention(&packed(&[5]), &[rows(0, 3), rows(5, 7)].concat());
        let second = attention(&packed(&[4]), &[rows(0, 3), rows(7, 8)].concat());
        assert_eq!(shared[5 * 8..], [&first[3 * 8..], &second[3 * 8..]].concat());
        assert_eq!(shared[..5 * 8], attention(&packed(&[3, 2]), rows(0, 5)));
    }

    #[test]
    fn the_gradient_of_shared_beginnings_agrees_with_finite_differences() {
        let packed = shared();
        let (qkv, dout) = (numbers(7, 8 * 16), numbers(8, 8 * 8));
        assert_gradient(&qkv, &dout, &attention_backward(&packed, &qkv, &dout), |qkv| attention(&packed, qkv));
    }

    #[test]
    fn the_gradient_agrees_with_finite_differences() {
        let packed = packed(&[3, 1, 4]);
        let (qkv, dout) = (numbers(4, 8 * 16), numbers(5, 8 * 8));
        assert_gradient(&qkv, &dout, &attention_backward(&packed, &qkv, &dout), |qkv| attention(&packed, qkv));
    }
}
