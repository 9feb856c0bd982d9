//! Rotary position embedding, half-split.

use super::arguments::Arguments;
use super::array::{Array, Real};
use super::device::{Device, DeviceError, Grid, launch};
use super::source::ROPE;
use crate::cpu;

const THREADS: u32 = 256;

/// Cosines and sines for every position, `[positions, head_dim / 2]` each.
#[derive(Debug)]
pub struct Rope<D: Device> {
    pub(super) cosines: Array<D, f32>,
    pub(super) sines: Array<D, f32>,
    pub(super) positions: usize,
    pub(super) head_dim: usize,
}

impl<D: Device> Rope<D> {
    /// Tables for `positions` positions of heads `head_dim` wide, the same numbers as on the CPU.
    ///
    /// # Errors
    /// [`DeviceError::Driver`] if there is not as much memory.
    pub fn new(device: &D, positions: usize, head_dim: usize, theta: f64) -> Result<Self, DeviceError> {
        Self::of(device, &cpu::Rope::new(positions, head_dim, theta))
    }

    /// The same tables as on the CPU.
    ///
    /// # Errors
    /// [`DeviceError::Driver`] if there is not as much memory.
    pub fn of(device: &D, tables: &cpu::Rope) -> Result<Self, DeviceError> {
        let (positions, (cosines, sines)) = (tables.positions(), tables.tables());
        let head_dim = 2 * cosines.len() / positions.max(1);
        let cosines = Array::from_slice(device, cosines)?;
        Ok(Self { cosines, sines: Array::from_slice(device, sines)?, positions, head_dim })
    }
}

/// Turns the first `heads` heads of every row of `x[rows, width]` to `positions[rows]`, or back: the gradient of a turn is the turn back.
/// Rows beyond the tables become NaN.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another.
pub fn rope<D: Device, T: Real>(
    device: &D,
    tables: &Rope<D>,
    positions: &Array<D, u32>,
    x: &mut Array<D, T>,
    heads: usize,
    back: bool,
) -> Result<(), DeviceError> {
    let (rows, half) = (positions.len(), tables.head_dim / 2);
    let width = x.len() / rows.max(1);
    assert!(x.len() == rows * width && (heads * tables.head_dim <= width || rows == 0), "rope shapes");
    let arguments = Arguments::default().array(device, x).array(device, positions);
    let arguments = arguments.array(device, &tables.cosines).array(device, &tables.sines);
    let arguments = arguments.float(if back { -1.0 } else { 1.0 }).count(rows).count(width).count(heads).count(half);
    let arguments = arguments.count(tables.positions);
    let blocks = [(heads * half).div_ceil(THREADS as usize) as u32, rows.min(65_535) as u32, 1];
    launch(device, &ROPE, T::kernel(["rope_f32", "rope_bf16"]), Grid { blocks, threads: THREADS }, arguments)
}
