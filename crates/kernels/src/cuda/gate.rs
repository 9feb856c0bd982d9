//! SwiGLU.

use super::arguments::Arguments;
use super::array::{Array, Real};
use super::device::{Device, DeviceError, Grid, launch};
use super::source::GATE;

const THREADS: u32 = 256;

/// A thread for each piece of a row of `n`; what is beyond the grid's height is done in turns.
fn grid<T: Real>(rows: usize, n: usize) -> Grid {
    let width = 16 / size_of::<T>();
    let pieces = if n.is_multiple_of(width) { n / width } else { n };
    Grid { blocks: [pieces.div_ceil(THREADS as usize) as u32, rows.min(65_535) as u32, 1], threads: THREADS }
}

/// `y[rows, n]` from `gate_up[rows, 2 n]`.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another.
pub fn gate<D: Device, T: Real>(
    device: &D,
    gate_up: &Array<D, T>,
    y: &mut Array<D, T>,
    n: usize,
) -> Result<(), DeviceError> {
    let rows = y.len() / n;
    assert!(gate_up.len() == 2 * y.len() && y.len() == rows * n, "gate shapes");
    let arguments = Arguments::default().array(device, gate_up).array(device, y).count(n).count(rows);
    launch(device, &GATE, T::kernel(["gate_f32", "gate_bf16"]), grid::<T>(rows, n), arguments)
}

/// `d_gate_up[rows, 2 n]` from `dy[rows, n]`.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another.
pub fn gate_backward<D: Device, T: Real>(
    device: &D,
    dy: &Array<D, T>,
    gate_up: &Array<D, T>,
    d_gate_up: &mut Array<D, T>,
    n: usize,
) -> Result<(), DeviceError> {
    let rows = dy.len() / n;
    let fits = gate_up.len() == 2 * dy.len() && d_gate_up.len() == gate_up.len() && dy.len() == rows * n;
    assert!(fits, "gate shapes");
    let arguments = Arguments::default().array(device, dy).array(device, gate_up).array(device, d_gate_up);
    let arguments = arguments.count(n).count(rows);
    launch(device, &GATE, T::kernel(["gate_backward_f32", "gate_backward_bf16"]), grid::<T>(rows, n), arguments)
}
