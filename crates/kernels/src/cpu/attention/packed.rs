//! Where each segment's rows lie.

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
    /// Width of a head.
    pub head_dim: usize,
}

impl Packed {
    /// Rows of all segments.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.segments.iter().map(|segment| segment.tokens).sum()
    }

    /// Floats of one row of queries, keys and values side by side.
    #[must_use]
    pub fn row(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    pub(super) fn out_row(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Floats of the keys and values of one row.
    pub(super) fn kv_row(&self) -> usize {
        2 * self.kv_heads * self.head_dim
    }

    /// The query heads that share the key head `kv`.
    pub(super) fn group(&self, kv: usize) -> std::ops::Range<usize> {
        let size = self.heads / self.kv_heads;
        kv * size..(kv + 1) * size
    }

    /// # Panics
    /// If a parent does not come first, or has a parent.
    pub(super) fn check(&self) {
        let fits = |(i, segment): (usize, &Segment)| {
            segment.parent.is_none_or(|parent| parent < i && self.segments[parent].parent.is_none())
        };
        assert!(self.segments.iter().enumerate().all(fits), "a parent comes first and has none itself");
    }

    pub(super) fn split<'a>(&self, mut rest: &'a [f32], row: usize) -> Vec<&'a [f32]> {
        let mut parts = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            let (part, tail) = rest.split_at(segment.tokens * row);
            parts.push(part);
            rest = tail;
        }
        parts
    }

    pub(super) fn split_mut<'a>(&self, mut rest: &'a mut [f32], row: usize) -> Vec<&'a mut [f32]> {
        let mut parts = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            let (part, tail) = rest.split_at_mut(segment.tokens * row);
            parts.push(part);
            rest = tail;
        }
        parts
    }
}
