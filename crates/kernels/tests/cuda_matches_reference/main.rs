//! Every kernel for GPUs equals its f64 definition, whatever the order in which threads take turns.
//!
//! Kernels run on the shim, under several schedules that must agree in every bit, and on a GPU if there is one (`REQUIRE_GPU=1` makes its
//! absence a failure). The definition sees exactly the numbers that the kernel saw. Comparisons are written so that a NaN fails them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod attention;
mod credit;
mod log_prob;
mod rows;
mod sampling;
mod training_attention;

use half::bf16;
use stateset_kernels::cuda::{Array, Device, Real, Shim};

/// In order of threads, reversed, and two shuffles.
const SCHEDULES: [u32; 4] = [0, 1, 2, 3];

/// What `$body` gives on every device there is: once for the shim, and once for a GPU.
macro_rules! on_devices {
    (|$device:ident| $body:expr) => {{
        let mut all = Vec::new();
        let run = |$device: &stateset_kernels::cuda::Shim| -> Vec<Vec<f64>> { $body };
        let mut found: Vec<Vec<Vec<f64>>> = crate::SCHEDULES.map(|schedule| run(&crate::shim(schedule))).into();
        for other in &found[1..] {
            crate::assert_same_bits(&found[0], other, "schedules");
        }
        all.push(found.swap_remove(0));
        #[cfg(feature = "cuda")]
        if let Some(gpu) = crate::gpu() {
            let run = |$device: &stateset_kernels::cuda::Gpu| -> Vec<Vec<f64>> { $body };
            let (first, second) = (run(gpu), run(gpu));
            crate::assert_same_bits(&first, &second, "two runs on the GPU");
            all.push(first);
        }
        all
    }};
}
pub(crate) use on_devices;

fn shim(schedule: u32) -> Shim {
    Shim { schedule }
}

#[cfg(feature = "cuda")]
fn gpu() -> Option<&'static stateset_kernels::cuda::Gpu> {
    use std::sync::LazyLock;

    use stateset_kernels::cuda::Gpu;

    static GPU: LazyLock<Option<Gpu>> = LazyLock::new(|| match Gpu::new(0) {
        Ok(gpu) => Some(gpu),
        Err(error) => {
            assert!(std::env::var_os("REQUIRE_GPU").is_none(), "REQUIRE_GPU is set, and {error}");
            eprintln!("on the shim alone: {error}");
            None
        }
    });
    GPU.as_ref()
}

fn assert_same_bits(a: &[Vec<f64>], b: &[Vec<f64>], what: &str) {
    assert_eq!(a.len(), b.len());
    for (output, (a, b)) in a.iter().zip(b).enumerate() {
        let differ = a.iter().zip(b).position(|(a, b)| a.to_bits() != b.to_bits());
        assert!(a.len() == b.len() && differ.is_none(), "{what} disagree in output {output} at {differ:?}");
    }
}

/// What is compared with an f64.
trait Number: Real {
    /// How far a number is rounded when it is kept, relatively.
    const ROUNDING: f64;
    fn narrow(x: f32) -> Self;
    fn wide(self) -> f64;
}

impl Number for f32 {
    const ROUNDING: f64 = 0.0;
    fn narrow(x: f32) -> Self {
        x
    }
    fn wide(self) -> f64 {
        self.into()
    }
}

impl Number for bf16 {
    const ROUNDING: f64 = 1.0 / 256.0;
    fn narrow(x: f32) -> Self {
        Self::from_f32(x)
    }
    fn wide(self) -> f64 {
        self.to_f64()
    }
}

fn upload<D: Device, T: Number>(device: &D, x: &[T]) -> Array<D, T> {
    Array::from_slice(device, x).unwrap()
}

fn blank<D: Device, T: Number>(device: &D, len: usize) -> Array<D, T> {
    Array::new(device, len).unwrap()
}

fn download<D: Device, T: Number>(device: &D, array: &Array<D, T>) -> Vec<f64> {
    wide(&array.to_vec(device).unwrap())
}

fn wide<T: Number>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.wide()).collect()
}

/// `n` numbers in `(-scale, scale)` that depend on `seed` alone.
fn numbers<T: Number>(seed: u64, n: usize, scale: f32) -> Vec<T> {
    let stream = stateset_domain::Stream::new(seed);
    (0..n as u64).map(|i| T::narrow((2.0 * stream.uniform_at(i) as f32 - 1.0) * scale)).collect()
}

#[track_caller]
fn assert_close(actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "lengths");
    let finite = expected.iter().filter(|x| x.is_finite());
    let allowed = tolerance * finite.fold(1.0, |largest: f64, x| largest.max(x.abs()));
    for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let close =
            (actual - expected).abs() <= allowed || actual == expected || (actual.is_nan() && expected.is_nan());
        assert!(close, "entry {i}: {actual} is not {expected} within {allowed:e}");
    }
}
