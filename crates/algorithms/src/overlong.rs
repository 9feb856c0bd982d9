//! A soft punishment for answers that grow too long.
//!
//! A limit alone teaches nothing until it is hit, and then cuts off what may have been right. DAPO (arXiv:2503.14476 §3.4, eq. 13) has a
//! margin before it, in which every further token costs the same:
//!
//! ```text
//! 0                                     up to limit - margin tokens
//! penalty (limit - margin - n) / margin from there on
//! - penalty                             beyond the limit
//! ```

/// A limit, and the margin before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overlong {
    /// The longest answer, tokens.
    pub limit: usize,
    /// How many tokens before that punishment begins.
    pub margin: usize,
    /// What an answer costs that is as long as the limit.
    pub penalty: f64,
}

impl Overlong {
    /// What an answer of so many tokens earns for its length: never more than 0.
    #[must_use]
    pub fn earns(&self, tokens: usize) -> f64 {
        let over = tokens.saturating_sub(self.limit.saturating_sub(self.margin));
        -self.penalty * (over as f64 / self.margin.max(1) as f64).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_costs_nothing_before_the_margin_and_no_more_beyond_the_limit() {
        let overlong = Overlong { limit: 20, margin: 4, penalty: 2.0 };
        let found = [0, 16, 17, 18, 20, 21, 500].map(|tokens| overlong.earns(tokens));
        assert_eq!(found, [0.0, 0.0, -0.5, -1.0, -2.0, -2.0, -2.0]);
    }

    #[test]
    fn dapos_own_margin_is_a_fifth_of_its_limit() {
        // 16384 tokens and 4096 more: at 18432, half way through, half of 1.
        let overlong = Overlong { limit: 20_480, margin: 4096, penalty: 1.0 };
        assert_eq!(overlong.earns(18_432), -0.5);
    }
}
