//! Routing to experts: with `p = softmax(logits)` over all of them, a token goes to the `each` largest, with weight `p_i` or, `normed`, with
//! `p_i / sum of the chosen p`. Which are chosen has no gradient.

/// Weight of every expert `[rows, experts]`, 0 for those not chosen, from `logits[rows, experts]`.
#[must_use]
pub fn route(logits: &[f64], experts: usize, each: usize, normed: bool) -> Vec<f64> {
    logits.chunks_exact(experts).flat_map(|row| weights(row, each, normed)).collect()
}

fn weights(logits: &[f64], each: usize, normed: bool) -> Vec<f64> {
    let rank = |i: usize| {
        let before = |j: usize| logits[j] > logits[i] || (logits[j] == logits[i] && j < i);
        (0..logits.len()).filter(|j| before(*j)).count()
    };
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let power = |i: usize| (logits[i] - largest).exp();
    let sum: f64 = (0..logits.len()).filter(|i| !normed || rank(*i) < each).map(power).sum();
    (0..logits.len()).map(|i| if rank(i) < each { power(i) / sum } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_share_what_the_others_would_have_had() {
        // Probabilities 1/2, 1/6, 1/3.
        let logits = [3f64.ln(), 0.0, 2f64.ln()];
        let close = |found: Vec<f64>, right: [f64; 3]| {
            assert!(found.iter().zip(right).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        };
        close(route(&logits, 3, 2, false), [0.5, 0.0, 1.0 / 3.0]);
        close(route(&logits, 3, 2, true), [0.6, 0.0, 0.4]);
    }
}
