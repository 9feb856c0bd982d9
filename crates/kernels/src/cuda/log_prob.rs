//! Selective log-softmax, one block a row.

use super::arguments::Arguments;
use super::array::{Array, Real};
use super::device::{Device, DeviceError, Grid, launch};
use super::source::LOG_PROB;

/// What the forward pass finds for each row, nats. Near 1e4 the sum of `largest` and `log_sum` would be rounded to 1e-3 nats, so they are two.
#[derive(Debug)]
pub struct LogProb<D: Device> {
    /// Log-probability of the target; NaN for a target outside the vocabulary.
    pub log_prob: Array<D, f32>,
    /// Entropy of the row.
    pub entropy: Array<D, f32>,
    /// Largest logit of the row.
    pub largest: Array<D, f32>,
    /// Log-sum-exp of the scaled row after `largest` was subtracted.
    pub log_sum: Array<D, f32>,
}

impl<D: Device> LogProb<D> {
    /// Room for `rows` rows.
    ///
    /// # Errors
    /// [`DeviceError::Driver`] if there is not as much memory.
    pub fn new(device: &D, rows: usize) -> Result<Self, DeviceError> {
        let array = || Array::new(device, rows);
        Ok(Self { log_prob: array()?, entropy: array()?, largest: array()?, log_sum: array()? })
    }
}

/// Threads for a row at the most, measured on an H200: what is read in small blocks overlaps best, what is read and written in larger ones.
const READ: usize = 256;
const READ_AND_WRITTEN: usize = 512;

/// Threads for a row: enough that each has two pieces of 16 bytes, and a whole number of warps.
fn threads<T>(vocab: usize, most: usize) -> u32 {
    let pieces = (vocab * size_of::<T>()).div_ceil(32);
    pieces.next_multiple_of(32).clamp(32, most) as u32
}

/// Log-probabilities of `targets[rows]` and entropies under `softmax(logits[rows, vocab] / temperature)`.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another.
pub fn log_prob<D: Device, T: Real>(
    device: &D,
    logits: &Array<D, T>,
    targets: &Array<D, u32>,
    temperature: f32,
    vocab: usize,
    found: &mut LogProb<D>,
) -> Result<(), DeviceError> {
    let rows = targets.len();
    let outputs = [&found.log_prob, &found.entropy, &found.largest, &found.log_sum];
    assert!(logits.len() == rows * vocab && outputs.iter().all(|it| it.len() == rows), "log_prob shapes");
    let arguments = Arguments::default().array(device, logits).array(device, targets);
    let arguments = outputs.iter().fold(arguments, |arguments, output| arguments.array(device, output));
    let arguments = arguments.float(1.0 / temperature).count(vocab);
    let name = T::kernel(["log_prob_f32", "log_prob_bf16"]);
    launch(device, &LOG_PROB, name, Grid::of(rows, threads::<T>(vocab, READ)), arguments)
}

/// `d_logits[rows, vocab]` from the gradients of log-probability and entropy, and what [`log_prob`] found.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another.
pub fn log_prob_backward<D: Device, T: Real>(
    device: &D,
    logits: &Array<D, T>,
    targets: &Array<D, u32>,
    temperature: f32,
    found: &LogProb<D>,
    upstream: (&Array<D, f32>, &Array<D, f32>),
    d_logits: &mut Array<D, T>,
) -> Result<(), DeviceError> {
    backward(device, logits, targets, temperature, found, upstream, d_logits)
}

/// The same, written over the logits: how a chunk of them becomes its own gradient when log-probabilities are computed from hidden
/// states a chunk at a time, and the logits of all tokens never exist together.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another.
pub fn log_prob_backward_in_place<D: Device, T: Real>(
    device: &D,
    logits: &mut Array<D, T>,
    targets: &Array<D, u32>,
    temperature: f32,
    found: &LogProb<D>,
    upstream: (&Array<D, f32>, &Array<D, f32>),
) -> Result<(), DeviceError> {
    backward(device, logits, targets, temperature, found, upstream, logits)
}

fn backward<D: Device, T: Real>(
    device: &D,
    logits: &Array<D, T>,
    targets: &Array<D, u32>,
    temperature: f32,
    found: &LogProb<D>,
    (d_log_prob, d_entropy): (&Array<D, f32>, &Array<D, f32>),
    d_logits: &Array<D, T>,
) -> Result<(), DeviceError> {
    let rows = targets.len();
    let by_row = [&found.entropy, &found.largest, &found.log_sum, d_log_prob, d_entropy];
    let vocab = logits.len() / rows.max(1);
    let fits =
        logits.len() == rows * vocab && d_logits.len() == logits.len() && by_row.iter().all(|it| it.len() == rows);
    assert!(fits, "log_prob shapes");
    let arguments = Arguments::default().array(device, logits).array(device, targets);
    let arguments = by_row.iter().fold(arguments, |arguments, input| arguments.array(device, input));
    let arguments = arguments.array(device, d_logits).float(1.0 / temperature).count(vocab);
    let name = T::kernel(["log_prob_backward_f32", "log_prob_backward_bf16"]);
    launch(device, &LOG_PROB, name, Grid::of(rows, threads::<T>(vocab, READ_AND_WRITTEN)), arguments)
}
