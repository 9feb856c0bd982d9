//! From logits to a token: temperature, top-k, top-p (nucleus, Holtzman et al., arXiv:1904.09751), min-p (arXiv:2407.01082), then an inverse
//! transform.
//!
//! With a filter, tokens are ordered by falling probability, ties by rising id, and what survives is a prefix; without, the order is
//! that of ids. The token drawn by `u` in `[0, 1)` is the first whose cumulative probability exceeds `u`.

/// How a token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Filters {
    /// Divides the logits; not 0.
    pub temperature: f64,
    /// Keep the `k` most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of most likely tokens that holds this much of what top-k has left; 1 keeps all.
    pub top_p: f64,
    /// Drop tokens less likely than this share of the most likely one; 0 keeps all.
    pub min_p: f64,
}

/// What may be drawn, as ids and probabilities that sum to 1, in the order of the inverse transform.
#[must_use]
pub fn distribution(logits: &[f64], filters: Filters) -> Vec<(u32, f64)> {
    let Filters { temperature, top_k, top_p, min_p } = filters;
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut kept: Vec<(u32, f64)> = (0..).zip(logits.iter().map(|z| ((z - largest) / temperature).exp())).collect();
    if top_k > 0 || top_p < 1.0 || min_p > 0.0 {
        kept.sort_by(|(a, p), (b, q)| q.total_cmp(p).then(a.cmp(b)));
        kept.truncate(if top_k > 0 { top_k } else { kept.len() });
        if top_p < 1.0 {
            let enough = top_p * kept.iter().map(|(_, weight)| weight).sum::<f64>();
            let mut held = 0.0;
            let within = kept.iter().take_while(|(_, weight)| {
                let more = held < enough;
                held += weight;
                more
            });
            let within = within.count().max(1);
            kept.truncate(within);
        }
        kept.retain(|(_, weight)| *weight >= min_p);
    }
    let sum: f64 = kept.iter().map(|(_, weight)| weight).sum();
    kept.iter().map(|(id, weight)| (*id, weight / sum)).collect()
}

/// The token that `u` draws, and its log-probability in nats.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn draw(distribution: &[(u32, f64)], u: f64) -> (u32, f64) {
    let mut upto = 0.0;
    let reached = distribution.iter().find(|(_, p)| {
        upto += p;
        u < upto
    });
    let (token, p) = reached.or(distribution.last()).expect("a distribution is not empty");
    (*token, p.ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Filters = Filters { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0 };

    fn kept(filters: Filters) -> Vec<u32> {
        let logits = [0.125f64, 0.5, 0.125, 0.25].map(f64::ln);
        distribution(&logits, filters).iter().map(|(id, _)| *id).collect()
    }

    #[test]
    fn filters_keep_a_prefix_of_the_most_likely() {
        assert_eq!(kept(ALL), [0, 1, 2, 3]);
        assert_eq!(kept(Filters { top_k: 3, ..ALL }), [1, 3, 0]);
        assert_eq!(kept(Filters { top_p: 0.6, ..ALL }), [1, 3]);
        assert_eq!(kept(Filters { top_p: 0.0, ..ALL }), [1]);
        assert_eq!(kept(Filters { min_p: 0.4, ..ALL }), [1, 3]);
        // Of the three that top-k leaves, 0.5 / 0.875 = 0.57 is not yet enough.
        assert_eq!(kept(Filters { top_k: 3, top_p: 0.58, ..ALL }), [1, 3]);
    }

    #[test]
    fn the_inverse_transform_takes_the_first_token_beyond() {
        let two = distribution(&[0.75f64.ln(), 0.25f64.ln()], ALL);
        for (u, token, p) in [(0.0, 0, 0.75), (0.74, 0, 0.75), (0.76, 1, 0.25), (0.999, 1, 0.25)] {
            let (drawn, log_prob) = draw(&two, u);
            assert!(drawn == token && (log_prob - f64::ln(p)).abs() < 1e-12, "{u}");
        }
    }
}
