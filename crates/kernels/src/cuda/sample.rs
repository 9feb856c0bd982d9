//! Choosing the next tokens, one block a row.

use super::arguments::Arguments;
use super::array::{Array, Element};
use super::device::{Device, DeviceError, Grid, launch};
use super::source::SAMPLE;

/// How the token of one row is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct Choice {
    /// The key of the random stream.
    pub key: u64,
    /// The position in the stream that decides.
    pub position: u64,
    /// Divides the logits; 0 is greedy.
    pub temperature: f32,
    /// Keep the smallest set of most likely tokens that holds this much probability; 1 keeps all.
    pub top_p: f32,
    /// Drop tokens less likely than this share of the most likely one; 0 keeps all.
    pub min_p: f32,
    /// Keep the `k` most likely tokens; 0 keeps all.
    pub top_k: u32,
}

// SAFETY: two numbers of 64 bits and four of 32, without a gap; every pattern of bits is one.
#[allow(unsafe_code)]
unsafe impl Element for Choice {
    const KIND: u8 = b'c';
}

/// Chooses `tokens[rows]` by `logits[rows, vocab]`, and records the log-probability of each in nats: under the distribution it was drawn
/// from, and under the full one when greedy. Filters apply in the order top-k, top-p, min-p. A row that is no distribution (a NaN, a
/// positive infinity) gives token 0 and NaN.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another.
pub fn sample<D: Device>(
    device: &D,
    logits: &Array<D, f32>,
    choices: &Array<D, Choice>,
    tokens: &mut Array<D, u32>,
    log_probs: &mut Array<D, f32>,
) -> Result<(), DeviceError> {
    let rows = choices.len();
    let vocab = logits.len() / rows.max(1);
    let fits = logits.len() == rows * vocab && tokens.len() == rows && log_probs.len() == rows;
    assert!(fits && (vocab > 0 || rows == 0), "sample shapes");
    let arguments = Arguments::default().array(device, logits).array(device, choices).array(device, tokens);
    let arguments = arguments.array(device, log_probs).count(vocab);
    let threads = vocab.div_ceil(4).next_multiple_of(32).min(1024) as u32;
    launch(device, &SAMPLE, "sample_f32", Grid::of(rows, threads), arguments)
}
