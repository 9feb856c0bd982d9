//! AdamW, clipped by the norm of all gradients together.

use super::arguments::Arguments;
use super::array::Array;
use super::device::{Device, DeviceError, Grid, launch};
use super::source::{ADAMW, SUMS};
use crate::cpu::AdamW;

const CHUNK: usize = 16_384;
const THREADS: u32 = 256;

/// The squares of all gradients, summed where the optimizer reads them.
#[derive(Debug)]
pub struct Clip<D: Device> {
    parts: Array<D, f64>,
    total: Array<D, f64>,
    chunks: Vec<usize>,
}

impl<D: Device> Clip<D> {
    /// For gradients of these lengths.
    ///
    /// # Errors
    /// [`DeviceError::Driver`] if there is not as much memory.
    pub fn new(device: &D, lengths: &[usize]) -> Result<Self, DeviceError> {
        let chunks: Vec<usize> = lengths.iter().map(|length| length.div_ceil(CHUNK)).collect();
        let parts = Array::new(device, chunks.iter().sum())?;
        Ok(Self { parts, total: Array::from_slice(device, &[0.0])?, chunks })
    }

    /// The sum that [`sum_of_squares`] found last.
    ///
    /// # Errors
    /// [`DeviceError::Driver`].
    pub fn total(&self, device: &D) -> Result<f64, DeviceError> {
        Ok(self.total.to_vec(device)?[0])
    }
}

/// Sums the squares of all `gradients`, in f64 and in a fixed order.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If they are not those that `clip` was made for.
pub fn sum_of_squares<D: Device>(
    device: &D,
    gradients: &[&Array<D, f32>],
    clip: &mut Clip<D>,
) -> Result<(), DeviceError> {
    let chunks = gradients.iter().map(|gradient| gradient.len().div_ceil(CHUNK));
    assert!(chunks.eq(clip.chunks.iter().copied()), "sum_of_squares shapes");
    let mut first = 0;
    for (gradient, chunks) in gradients.iter().zip(&clip.chunks) {
        let arguments = Arguments::default().array(device, gradient).array_from(device, &clip.parts, first);
        let arguments = arguments.long(gradient.len());
        launch(device, &SUMS, "sum_of_squares_f32", Grid::of(*chunks, THREADS), arguments)?;
        first += chunks;
    }
    let arguments = Arguments::default().array(device, &clip.parts).array(device, &clip.total).count(first).count(1);
    launch(device, &SUMS, "sum_rows_f64", Grid::of(1, THREADS), arguments)
}

/// A parameter's running averages.
#[derive(Debug)]
pub struct Moments<D: Device> {
    /// Of its gradient.
    pub mean: Array<D, f32>,
    /// Of its gradient's square.
    pub square: Array<D, f32>,
}

/// Updates `parameter` and its averages from `gradient`, scaled so that the norm of all gradients is at most that of `clip`.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another.
pub fn adamw<D: Device>(
    device: &D,
    parameter: &mut Array<D, f32>,
    gradient: &Array<D, f32>,
    moments: &mut Moments<D>,
    clip: Option<(&Clip<D>, f32)>,
    with: AdamW,
) -> Result<(), DeviceError> {
    let n = parameter.len();
    assert!([gradient, &moments.mean, &moments.square].iter().all(|it| it.len() == n), "adamw shapes");
    let correction = |beta: f32| (1.0 / (1.0 - f64::from(beta).powf(with.step as f64))) as f32;
    let arguments = Arguments::default().array(device, parameter).array(device, gradient);
    let arguments = arguments.array(device, &moments.mean).array(device, &moments.square);
    let arguments = arguments.optional(device, clip.map(|(clip, _)| &clip.total));
    let arguments = arguments.float(clip.map_or(0.0, |(_, max_norm)| max_norm)).float(with.lr).float(with.beta1);
    let arguments = arguments.float(with.beta2).float(with.epsilon).float(with.weight_decay);
    let arguments = arguments.float(correction(with.beta1)).float(correction(with.beta2)).long(n);
    launch(device, &ADAMW, "adamw_f32", Grid::of(n.div_ceil(4 * THREADS as usize), THREADS), arguments)
}
