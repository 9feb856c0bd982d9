//! Which experts a token goes to (Shazeer et al., arXiv:1701.06538), and how much of each it takes.

use rayon::prelude::*;

const ROWS: usize = 32;

/// Where tokens go: `each` experts a token, and the weight of each.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Routes {
    /// Experts of a token.
    pub each: usize,
    /// `[rows, each]`, in falling order of their logits; the lower index first among equals.
    pub experts: Vec<u32>,
    /// `[rows, each]`: the probabilities of softmax over all experts, made to sum to one if they are `normed`.
    pub weights: Vec<f32>,
    /// Whether the weights of a token sum to one.
    pub normed: bool,
}

/// The `each` best experts of every row of `logits[rows, experts]`. Logits that are no numbers come last.
///
/// # Panics
/// If there are fewer experts than a token takes.
#[must_use]
pub fn route(logits: &[f32], experts: usize, each: usize, normed: bool) -> Routes {
    assert!(each <= experts && logits.len().is_multiple_of(experts), "route shapes");
    let rows = logits.len() / experts;
    let (mut chosen, mut weights) = (vec![0; rows * each], vec![0.0; rows * each]);
    let outs = chosen.par_chunks_mut(each * ROWS).zip(weights.par_chunks_mut(each * ROWS));
    outs.zip(logits.par_chunks(experts * ROWS)).for_each(|((chosen, weights), logits)| {
        let mut order: Vec<u32> = Vec::with_capacity(experts);
        let outs = chosen.chunks_exact_mut(each).zip(weights.chunks_exact_mut(each));
        for ((chosen, weights), logits) in outs.zip(logits.chunks_exact(experts)) {
            order.clear();
            order.extend(0..experts as u32);
            order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
            chosen.copy_from_slice(&order[..each]);
            let largest = logits[chosen[0] as usize];
            let power = |expert: &u32| (logits[*expert as usize] - largest).exp();
            let sum: f32 = if normed { chosen.iter().map(power).sum() } else { order.iter().map(power).sum() };
            weights.iter_mut().zip(&*chosen).for_each(|(weight, expert)| *weight = power(expert) / sum);
        }
    });
    Routes { each, experts: chosen, weights, normed }
}

/// `d_logits[rows, experts]` from `d_weights[rows, each]`. Which experts are chosen has no gradient.
///
/// # Panics
/// If shapes do not match.
pub fn route_backward(logits: &[f32], experts: usize, routes: &Routes, d_weights: &[f32], d_logits: &mut [f32]) {
    assert!(d_weights.len() == routes.weights.len() && d_logits.len() == logits.len(), "route shapes");
    let each = routes.each;
    let chosen = routes.experts.par_chunks(each).zip(routes.weights.par_chunks(each)).zip(d_weights.par_chunks(each));
    let rows = d_logits.par_chunks_mut(experts).zip(logits.par_chunks(experts)).with_min_len(ROWS);
    rows.zip(chosen).for_each(|((d, logits), ((chosen, weights), d_weights))| {
        let mean: f32 = weights.iter().zip(d_weights).map(|(w, dw)| w * dw).sum();
        d.fill(0.0);
        if !routes.normed {
            // `weights[0]` is the probability of the largest logit, from which all others follow.
            let largest = logits[chosen[0] as usize];
            d.iter_mut().zip(logits).for_each(|(d, z)| *d = -(z - largest).exp() * weights[0] * mean);
        }
        for ((expert, weight), dw) in chosen.iter().zip(weights).zip(d_weights) {
            let pull = if routes.normed { dw - mean } else { *dw };
            d[*expert as usize] += weight * pull;
        }
    });
}
