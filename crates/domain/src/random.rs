//! Counter-based random streams.
//!
//! A [`Stream`] is a key; the value at a position is a hash of both (SplitMix64, Steele et al. 2014). Two consumers with different
//! forks never share values, and a value depends only on key and position, not on who asked first: what a conversation samples
//! cannot depend on what it was batched with, and a resumed run draws what the uninterrupted one would have drawn.

use serde::{Deserialize, Serialize};

/// A position in a reproducible, unbounded sequence of random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stream {
    key: u64,
    position: u64,
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Stream {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { key: mix(seed.wrapping_add(GOLDEN)), position: 0 }
    }

    /// An independent stream, named by `label`. Ignores how far this one has been read.
    #[must_use]
    pub fn fork(&self, label: u64) -> Self {
        Self { key: mix(self.key ^ mix(label.wrapping_mul(GOLDEN).wrapping_add(1))), position: 0 }
    }

    /// What names the stream: with it, a device draws the same numbers as the host.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The value at `position`, without moving.
    #[must_use]
    pub fn at(&self, position: u64) -> u64 {
        mix(self.key.wrapping_add(position.wrapping_add(1).wrapping_mul(GOLDEN)))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let value = self.at(self.position);
        self.position += 1;
        value
    }

    /// Uniform in `[0, 1)`, 53 bits.
    pub fn uniform(&mut self) -> f64 {
        unit(self.next_u64())
    }

    /// Uniform in `[0, 1)` at `position`, without moving.
    #[must_use]
    pub fn uniform_at(&self, position: u64) -> f64 {
        unit(self.at(position))
    }

    /// Uniform in `0..bound`.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "an empty range has no members");
        // The bias of a 64-bit multiply-shift is below 2^-40 for every bound in use here.
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// A uniformly chosen member.
    ///
    /// # Panics
    /// If `items` is empty.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// `count` distinct indices below `bound`, in random order.
    ///
    /// # Panics
    /// If `count > bound`.
    pub fn sample_indices(&mut self, bound: usize, count: usize) -> Vec<usize> {
        assert!(count <= bound, "cannot draw {count} distinct indices below {bound}");
        let mut all: Vec<usize> = (0..bound).collect();
        for i in 0..count {
            let j = i + self.below(bound - i);
            all.swap(i, j);
        }
        all.truncate(count);
        all
    }

    /// Standard normal (Box-Muller, one of the pair).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_are_independent_of_how_far_the_parent_was_read() {
        let mut read = Stream::new(7);
        read.next_u64();
        assert_eq!(read.fork(3), Stream::new(7).fork(3));
        assert_ne!(read.fork(3).at(0), read.fork(4).at(0));
    }

    #[test]
    fn uniform_numbers_have_the_mean_and_variance_of_a_uniform() {
        let mut stream = Stream::new(1);
        let draws: Vec<f64> = (0..20_000).map(|_| stream.uniform()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!((mean - 0.5).abs() < 0.01 && (variance - 1.0 / 12.0).abs() < 0.003);
    }

    #[test]
    fn sampled_indices_are_distinct() {
        let mut drawn = Stream::new(5).sample_indices(10, 10);
        drawn.sort_unstable();
        assert_eq!(drawn, (0..10).collect::<Vec<_>>());
    }
}
