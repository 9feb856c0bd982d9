//! Rotary position embedding (Su et al., arXiv:2104.09864), half-split as in Hugging Face's Llama.

/// Cosines and sines for every position.
#[derive(Debug, Clone)]
pub struct Rope {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rope {
    /// Tables for `positions` positions of heads `head_dim` wide.
    #[must_use]
    pub fn new(positions: usize, head_dim: usize, theta: f64) -> Self {
        let half = head_dim / 2;
        let angle = |i: usize| {
            let (position, j) = (i / half, i % half);
            position as f64 / theta.powf(2.0 * j as f64 / head_dim as f64)
        };
        let (cos, sin) = (0..positions * half).map(angle).map(|a| (a.cos() as f32, a.sin() as f32)).unzip();
        Self { half, cos, sin }
    }

    /// How many positions the tables hold.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.cos.len() / self.half.max(1)
    }

    /// Cosines and sines, `[positions, head_dim / 2]` each.
    #[cfg(any(feature = "cuda", feature = "shim"))]
    pub(crate) fn tables(&self) -> (&[f32], &[f32]) {
        (&self.cos, &self.sin)
    }

    /// `to` = `from` turned to `position`; backwards for `direction = -1`.
    #[inline(always)]
    pub(crate) fn rotate(&self, position: usize, from: &[f32], to: &mut [f32], direction: f32) {
        let half = self.half;
        let (cos, sin) = (&self.cos[position * half..][..half], &self.sin[position * half..][..half]);
        let (a, b) = from[..2 * half].split_at(half);
        let (to_a, to_b) = to[..2 * half].split_at_mut(half);
        for i in 0..half {
            let s = sin[i] * direction;
            to_a[i] = a[i] * cos[i] - b[i] * s;
            to_b[i] = b[i] * cos[i] + a[i] * s;
        }
    }
}
