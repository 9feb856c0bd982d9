//! Runs of tokens that are packed end to end, and may begin with what another run holds.

/// A run of tokens. Each sees itself and what precedes it in the run; if there is a parent, all of that comes first, and positions
/// continue after it. Several sequences that begin alike are one parent and a segment for the rest of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// How many tokens it holds itself.
    pub tokens: usize,
    /// Index of the segment that precedes it; an earlier one, without a parent of its own.
    pub parent: Option<usize>,
}

impl Segment {
    /// A whole sequence.
    #[must_use]
    pub fn alone(tokens: usize) -> Self {
        Self { tokens, parent: None }
    }

    /// How many tokens its last one sees, in `segments`.
    ///
    /// # Panics
    /// If its parent is not among them.
    #[must_use]
    pub fn seen(&self, segments: &[Self]) -> usize {
        self.tokens + self.parent.map_or(0, |parent| segments[parent].tokens)
    }
}
