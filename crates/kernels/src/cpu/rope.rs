//! Rotary position embedding (Su et al., arXiv:2104.09864), half-split as in Hugging Face's Llama.

/// Cosines and sines for every position. The first `2 half` numbers of a head turn, in pairs `half` apart; the rest stay.
#[derive(Debug, Clone)]
pub struct Rope {
    half: usize,
    positions: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rope {
    /// Tables for `positions` positions of heads `head_dim` wide, whose pair `j` turns by `theta^(-2 j / head_dim)` a position.
    #[must_use]
    pub fn new(positions: usize, head_dim: usize, theta: f64) -> Self {
        let frequency = |j: usize| theta.powf(-2.0 * j as f64 / head_dim as f64);
        Self::of(positions, &(0..head_dim / 2).map(frequency).collect::<Vec<_>>(), 1.0)
    }

    /// Tables for heads whose pair `j` turns by `frequencies[j]` radians a position and grows by `factor`.
    #[must_use]
    pub fn of(positions: usize, frequencies: &[f64], factor: f64) -> Self {
        let half = frequencies.len();
        let angle = |i: usize| (i / half) as f64 * frequencies[i % half];
        let pair = |a: f64| ((a.cos() * factor) as f32, (a.sin() * factor) as f32);
        let (cos, sin) = (0..positions * half).map(angle).map(pair).unzip();
        Self { half, positions, cos, sin }
    }

    /// How many positions the tables hold.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Cosines and sines, `[positions, head_dim / 2]` each.
    #[cfg(any(feature = "cuda", feature = "shim"))]
    pub(crate) fn tables(&self) -> (&[f32], &[f32]) {
        (&self.cos, &self.sin)
    }

    /// `to` = the head `from` turned to `position`; backwards for `direction = -1`.
    #[inline(always)]
    pub(crate) fn rotate(&self, position: usize, from: &[f32], to: &mut [f32], direction: f32) {
        let half = self.half;
        let (cos, sin) = (&self.cos[position * half..][..half], &self.sin[position * half..][..half]);
        let (turning, still) = from.split_at(2 * half);
        let (to, to_still) = to.split_at_mut(2 * half);
        let (a, b) = turning.split_at(half);
        let (to_a, to_b) = to.split_at_mut(half);
        for i in 0..half {
            let s = sin[i] * direction;
            to_a[i] = a[i] * cos[i] - b[i] * s;
            to_b[i] = b[i] * cos[i] + a[i] * s;
        }
        to_still.copy_from_slice(still);
    }
}
