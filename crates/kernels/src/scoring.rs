//! How attention weighs what a query sees.

/// What becomes of the product of a query and a key, over one number type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scoring<'a, T> {
    /// Products are multiplied by it; `1 / sqrt(head_dim)` as a rule.
    pub scale: T,
    /// How many of the latest tokens a query sees, itself among them (Beltagy et al., arXiv:2004.05150); all without it.
    pub window: Option<usize>,
    /// Scores `s` become `cap tanh(s / cap)`, as in Gemma 2 (arXiv:2408.00118).
    pub soft_cap: Option<T>,
    /// One score a query head that takes its share of the probability and gives nothing for it (Xiao et al., arXiv:2309.17453).
    pub sinks: Option<&'a [T]>,
}

impl<T> Scoring<'_, T> {
    /// Every earlier token, by scaled products alone.
    #[must_use]
    pub fn plain(scale: T) -> Self {
        Self { scale, window: None, soft_cap: None, sinks: None }
    }

    /// The first position that a query at `position` sees.
    #[must_use]
    pub fn first(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }
}
