//! Dropout (Srivastava et al., JMLR 15, 2014): some numbers become zero, the others grow so that the mean stays.

use rayon::prelude::*;

const CHUNK: usize = 4096;

/// `y[i] = x[i] / (1 - rate)` where `uniform(i)`, in `[0, 1)`, is `rate` or more, and 0 elsewhere. What `uniform` says of `i` must not change,
/// so that the way back leaves out the same.
///
/// # Panics
/// If lengths differ.
pub fn dropout(x: &[f32], rate: f32, uniform: impl Fn(usize) -> f32 + Sync, y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "dropout shapes");
    let grown = 1.0 / (1.0 - rate);
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).enumerate().for_each(|(chunk, (y, x))| {
        for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
            *y = if uniform(chunk * CHUNK + i) >= rate { x * grown } else { 0.0 };
        }
    });
}
