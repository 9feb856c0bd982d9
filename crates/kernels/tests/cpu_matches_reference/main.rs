//! Every f32 kernel equals its f64 definition, and gives the same bits on one thread as on two.
//!
//! Cases are shapes and a seed, so that a failing one shrinks to the smallest shape that fails. The definition sees exactly the numbers
//! that the kernel saw; each test states how far the kernel may be off, in units of the largest expected entry (or of 1, if that is
//! larger).

mod attention;
mod decode;
mod halves;
mod head;
mod log_prob;
mod products;
mod rows;

use std::sync::LazyLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

static POOLS: LazyLock<[ThreadPool; 2]> = LazyLock::new(|| {
    [1, 2].map(|threads| ThreadPoolBuilder::new().num_threads(threads).build().expect("two threads can be had"))
});

/// What `kernel` writes, the same on one thread and on two, bit by bit.
fn reproducible<const N: usize>(kernel: impl Fn() -> [Vec<f32>; N] + Sync) -> [Vec<f32>; N] {
    let [one, two] = [0, 1].map(|pool| POOLS[pool].install(&kernel));
    for (one, two) in one.iter().zip(&two) {
        assert!(same_bits(one, two), "one thread and two disagree");
    }
    one
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits()))
}

/// `n` numbers in `(-scale, scale)` that depend on `seed` alone.
fn numbers(seed: u64, n: usize, scale: f32) -> Vec<f32> {
    let unit = |i: usize| {
        // SplitMix64's finaliser over a counter.
        let z = (seed << 32 | i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..n).map(|i| (2.0 * unit(i) - 1.0) * scale).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}

#[track_caller]
fn assert_close(actual: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "lengths");
    let allowed = tolerance * expected.iter().fold(1.0, |largest: f64, x| largest.max(x.abs()));
    for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(*actual) - expected).abs();
        assert!(error <= allowed, "entry {i}: {actual} is not {expected} within {allowed:e}");
    }
}
