//! PPO's clipped objective with a KL term, as slopes.

use super::arguments::Arguments;
use super::array::Array;
use super::device::{Device, DeviceError, Grid, launch};
use super::source::{OBJECTIVE, SUMS};
use crate::reference::Kl;

/// The objective's constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clipping {
    /// The ratio is clipped below `1 - low`.
    pub low: f32,
    /// The ratio is clipped above `1 + high`.
    pub high: f32,
    /// What the ratio of a bad answer's token counts at the most.
    pub dual_clip: Option<f32>,
    /// Which estimate is in the loss.
    pub kl: Kl,
    /// What a nat of KL costs.
    pub kl_coef: f32,
}

/// One entry per token; see [`reference::clipped_objective`](crate::reference::clipped_objective).
#[derive(Debug)]
pub struct Tokens<'a, D: Device> {
    /// Log-probabilities under the policy being trained, nats.
    pub new: &'a Array<D, f32>,
    /// Under the policy that sampled.
    pub old: &'a Array<D, f32>,
    /// Under the policy not to stray from.
    pub reference: Option<&'a Array<D, f32>>,
    /// Each token's credit.
    pub advantages: &'a Array<D, f32>,
    /// What a token's push weighs in the loss.
    pub pushes: &'a Array<D, f32>,
    /// What its KL weighs.
    pub weights: &'a Array<D, f32>,
    /// Not 0 on sampled tokens; others are not read.
    pub mask: &'a Array<D, u8>,
}

/// What all tokens come to.
#[derive(Debug)]
pub struct Sums<D: Device> {
    parts: Array<D, f64>,
    /// The loss; tokens clipped below and above; the sums of ratios, of k3 to the reference and of k3 from the old policy; and
    /// the number of sampled tokens.
    pub total: Array<D, f64>,
}

const COLUMNS: usize = 7;
const THREADS: u32 = 256;

impl<D: Device> Sums<D> {
    /// For so many tokens.
    ///
    /// # Errors
    /// [`DeviceError::Driver`] if there is not as much memory.
    pub fn new(device: &D, tokens: usize) -> Result<Self, DeviceError> {
        let parts = Array::new(device, tokens.div_ceil(THREADS as usize) * COLUMNS)?;
        Ok(Self { parts, total: Array::from_slice(device, &[0.0; COLUMNS])? })
    }
}

/// The derivative of the loss with respect to each token's `new`, and its sums.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another.
pub fn clipped_objective<D: Device>(
    device: &D,
    tokens: &Tokens<'_, D>,
    clipping: Clipping,
    slopes: &mut Array<D, f32>,
    sums: &mut Sums<D>,
) -> Result<(), DeviceError> {
    let Tokens { new, old, reference, advantages, pushes, weights, mask } = tokens;
    let count = new.len();
    let blocks = count.div_ceil(THREADS as usize);
    let compared = reference.is_none_or(|reference| reference.len() == count);
    let fits = [old, advantages, pushes, weights, &&*slopes].iter().all(|it| it.len() == count);
    assert!(fits && compared && mask.len() == count && sums.parts.len() == blocks * COLUMNS, "objective shapes");
    let arguments = Arguments::default().array(device, new).array(device, old).optional(device, *reference);
    let arguments = arguments.array(device, advantages).array(device, pushes).array(device, weights);
    let arguments = arguments.array(device, mask).array(device, slopes).array(device, &sums.parts);
    let arguments = arguments.float(1.0 - clipping.low).float(1.0 + clipping.high);
    let arguments = arguments.float(clipping.dual_clip.unwrap_or(f32::INFINITY)).count(clipping.kl as usize);
    let arguments = arguments.float(clipping.kl_coef).long(count);
    launch(device, &OBJECTIVE, "clipped_objective", Grid::of(blocks, THREADS), arguments)?;
    let arguments =
        Arguments::default().array(device, &sums.parts).array(device, &sums.total).count(blocks).count(COLUMNS);
    launch(device, &SUMS, "sum_rows_f64", Grid::of(COLUMNS, THREADS), arguments)
}
