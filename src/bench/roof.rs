//! How fast this machine could be: its rate of matrix products, and of reading and copying memory.

use std::time::{Duration, Instant};

use anyhow::Result;
use rayon::prelude::*;
use stateset_kernels::cpu::linear;

use crate::device::Place;

/// A roof is the best of at least so many attempts.
const ATTEMPTS: usize = 3;
/// As many more are made as this leaves time for: a machine that others use too shows what it can do only now and then.
const PATIENCE: Duration = Duration::from_secs(1);

/// Rows, columns and depth of the product: large enough that what is not arithmetic no longer counts.
const SIDE: usize = 1024;

/// Bytes of each buffer: several times what a cache holds.
const BUFFER: usize = 256 << 20;

/// Bytes a thread takes at a time.
const PIECE: usize = 1 << 20;

/// Operations a second of a large square product at `place`, as models multiply there.
///
/// # Errors
/// If a GPU fails.
pub(crate) fn product(place: Place) -> Result<f64> {
    match place {
        Place::Cpu => Ok(product_on_the_cpu()),
        #[cfg(feature = "cuda")]
        Place::Gpu => product_on_a_gpu(),
    }
}

#[cfg(feature = "cuda")]
fn product_on_a_gpu() -> Result<f64> {
    use stateset_kernels::cuda::{Array, Gpu, linear};

    const SIDE: usize = 8192;
    const EACH: usize = 8;
    let gpu = Gpu::new(0)?;
    let values: Vec<f32> = (0..SIDE * SIDE).map(|i| (i % 61) as f32 / 61.0).collect();
    let (x, w) = (Array::from_slice(&gpu, &values)?, Array::from_slice(&gpu, &values)?);
    let mut y = Array::new(&gpu, SIDE * SIDE)?;
    let mut found = Ok(());
    let seconds = fastest(|| {
        let mut once = || linear(&gpu, &x, &w, &mut y, (SIDE, SIDE, SIDE), false);
        found = found.clone().and_then(|()| (0..EACH).try_for_each(|_| once())).and_then(|()| {
            gpu.stream().synchronize().map_err(|error| stateset_kernels::cuda::DeviceError::Driver {
                call: "cuStreamSynchronize",
                reason: format!("{error:?}"),
            })
        });
    });
    found?;
    Ok(EACH as f64 * 2.0 * (SIDE as f64).powi(3) / seconds)
}

/// The same on the CPU, by the kernel that models use.
fn product_on_the_cpu() -> f64 {
    let ramp = |i: usize| (i % 61) as f32 / 61.0;
    let (x, w): (Vec<f32>, Vec<f32>) = (0..SIDE * SIDE).map(|i| (ramp(i), ramp(i + 7))).unzip();
    let mut y = vec![0.0; SIDE * SIDE];
    let once = || rayon::scope(|_| linear(&x, &w, &mut y, (SIDE, SIDE, SIDE)));
    2.0 * (SIDE as f64).powi(3) / fastest(once)
}

/// How fast memory is, bytes a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bandwidth {
    /// Of reading.
    pub(crate) read: f64,
    /// Of copying, where a byte that is copied counts twice.
    pub(crate) copy: f64,
}

impl Bandwidth {
    /// Measures it with all threads of the pool, or with one.
    pub(crate) fn measure(threads: Threads) -> Self {
        let (source, mut target) = (vec![1u8; BUFFER], vec![1u8; BUFFER]);
        // Comparing what is equal reads both to their ends.
        let equal = |(a, b): (&[u8], &[u8])| std::hint::black_box(a == b);
        let read = fastest(|| match threads {
            Threads::All => rayon::scope(|_| source.par_chunks(PIECE).zip(target.par_chunks(PIECE)).all(equal)),
            Threads::One => source.chunks(PIECE).zip(target.chunks(PIECE)).all(equal),
        });
        let copied = |(a, b): (&[u8], &mut [u8])| std::hint::black_box(b).copy_from_slice(a);
        let copy = fastest(|| match threads {
            Threads::All => {
                rayon::scope(|_| source.par_chunks(PIECE).zip(target.par_chunks_mut(PIECE)).for_each(copied))
            }
            Threads::One => source.chunks(PIECE).zip(target.chunks_mut(PIECE)).for_each(copied),
        });
        let bytes = 2.0 * BUFFER as f64;
        Self { read: bytes / read, copy: bytes / copy }
    }
}

/// Who works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// Every thread of the pool.
    All,
    /// The thread that asks.
    One,
}

/// Seconds of the fastest attempt.
fn fastest<R>(mut attempt: impl FnMut() -> R) -> f64 {
    let (began, mut least) = (Instant::now(), f64::INFINITY);
    for made in 0.. {
        if made >= ATTEMPTS && began.elapsed() >= PATIENCE {
            break;
        }
        let start = Instant::now();
        attempt();
        least = least.min(start.elapsed().as_secs_f64());
    }
    least
}
