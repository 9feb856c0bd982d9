//! Causal grouped-query attention (Ainslie et al., arXiv:2305.13245) with rotary positions, over packed sequences.
//!
//! Sequences lie end to end; positions start at 0 in each. A token's row of `qkv[tokens, (heads + 2 kv_heads) d]` holds its queries,
//! keys and values, and query head `h` reads key and value head `h / (heads / kv_heads)`. With `q'`, `k'` the [rotated](super::rotate)
//! queries and keys, and `j` running over the tokens of `i`'s sequence up to `i` itself:
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
//! with sums over `i` also running over the query heads that share the key head; `dq` and `dk` are `dq'` and `dk'` turned back.

use super::rope::rotate;

/// Shapes of packed sequences and heads.
#[derive(Debug, Clone)]
pub struct Packed {
    /// Tokens of each sequence.
    pub lengths: Vec<usize>,
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
    packed.for_each_query(qkv, |first, i, head, p| {
        for (j, p) in p.iter().enumerate() {
            let v = packed.value(qkv, first + j, head);
            for c in 0..d {
                out[((first + i) * heads + head) * d + c] += p * v[c];
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
    packed.for_each_query(qkv, |first, i, head, p| {
        let dout = &dout[((first + i) * packed.heads + head) * d..][..d];
        let dp: Vec<f64> = (0..=i).map(|j| dot(dout, packed.value(qkv, first + j, head))).collect();
        let mean = dot(p, &dp);
        let q = packed.query(qkv, first, i, head);
        let mut dq = vec![0.0; d];
        for j in 0..=i {
            let ds = p[j] * (dp[j] - mean) * scale;
            let k = packed.key(qkv, first, j, head);
            let dk: Vec<f64> = q.iter().map(|q| ds * q).collect();
            let dv: Vec<f64> = dout.iter().map(|dout| p[j] * dout).collect();
            add(&mut dqkv[packed.key_at(first + j, head)..], &rotate(&dk, j, theta, -1.0));
            add(&mut dqkv[packed.value_at(first + j, head)..], &dv);
            dq.iter_mut().zip(&k).for_each(|(dq, k)| *dq += ds * k);
        }
        add(&mut dqkv[packed.query_at(first + i, head)..], &rotate(&dq, i, theta, -1.0));
    });
    dqkv
}

impl Packed {
    /// Tokens of all sequences.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// Calls `f(first token of the sequence, position, query head, probabilities of positions 0..=position)` for every query.
    fn for_each_query(&self, qkv: &[f64], mut f: impl FnMut(usize, usize, usize, &[f64])) {
        let mut first = 0;
        for length in &self.lengths {
            for i in 0..*length {
                for head in 0..self.heads {
                    f(first, i, head, &self.probabilities(qkv, first, i, head));
                }
            }
            first += length;
        }
    }

    fn probabilities(&self, qkv: &[f64], first: usize, i: usize, head: usize) -> Vec<f64> {
        let q = self.query(qkv, first, i, head);
        let scores: Vec<f64> = (0..=i).map(|j| dot(&q, &self.key(qkv, first, j, head)) * self.scale()).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
        scores.iter().map(|s| (s - largest).exp() / sum).collect()
    }

    fn query(&self, qkv: &[f64], first: usize, i: usize, head: usize) -> Vec<f64> {
        rotate(&qkv[self.query_at(first + i, head)..][..self.head_dim], i, self.theta, 1.0)
    }

    fn key(&self, qkv: &[f64], first: usize, j: usize, head: usize) -> Vec<f64> {
        rotate(&qkv[self.key_at(first + j, head)..][..self.head_dim], j, self.theta, 1.0)
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
        Packed { lengths: lengths.to_vec(), heads: 4, kv_heads: 2, head_dim: 2, theta: 100.0 }
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
    fn the_gradient_agrees_with_finite_differences() {
        let packed = packed(&[3, 1, 4]);
        let (qkv, dout) = (numbers(4, 8 * 16), numbers(5, 8 * 8));
        assert_gradient(&qkv, &dout, &attention_backward(&packed, &qkv, &dout), |qkv| attention(&packed, qkv));
    }
}
