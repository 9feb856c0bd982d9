//! Root-mean-square norm, one block a row.

use super::arguments::Arguments;
use super::array::{Array, Real};
use super::device::{Device, DeviceError, Grid, launch};
use super::rows::add_parts;
use super::source::NORM;

const THREADS: u32 = 256;
/// As in `cu/norm.cu`.
const WIDEST: usize = 8192;
/// Sums of the weights' gradient before they are added up, at the most. A fixed number, so that sums do not depend on the device.
const PARTS: usize = 256;

/// `y[rows, h]` from `x[rows, h]` and `w[h]`; `rstd[rows]` receives the reciprocal root mean square for the backward pass.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another.
pub fn rms_norm<D: Device, T: Real>(
    device: &D,
    x: &Array<D, T>,
    w: &Array<D, f32>,
    eps: f32,
    y: &mut Array<D, T>,
    rstd: &mut Array<D, f32>,
) -> Result<(), DeviceError> {
    assert!(x.len() == y.len() && rstd.len() * w.len() == x.len(), "rms_norm shapes");
    let arguments = Arguments::default().array(device, x).array(device, w).array(device, y).array(device, rstd);
    let arguments = arguments.float(eps).count(w.len());
    launch(device, &NORM, T::kernel(["rms_norm_f32", "rms_norm_bf16"]), Grid::of(rstd.len(), THREADS), arguments)
}

/// Writes `dx[rows, h]`, and adds to `dw[h]`, from `dy[rows, h]`.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another, or rows are wider than 8192.
pub fn rms_norm_backward<D: Device, T: Real>(
    device: &D,
    dy: &Array<D, T>,
    x: &Array<D, T>,
    w: &Array<D, f32>,
    rstd: &Array<D, f32>,
    dx: &mut Array<D, T>,
    dw: &mut Array<D, f32>,
) -> Result<(), DeviceError> {
    let (h, rows) = (w.len(), rstd.len());
    let fits = dy.len() == x.len() && dx.len() == x.len() && rows * h == x.len() && dw.len() == h && h <= WIDEST;
    assert!(fits, "rms_norm shapes");
    let rows_each = rows.div_ceil(PARTS).max(1);
    let blocks = rows.div_ceil(rows_each);
    let parts = Array::<D, f32>::new(device, blocks * h)?;
    let arguments = Arguments::default().array(device, dy).array(device, x).array(device, w).array(device, rstd);
    let arguments = arguments.array(device, dx).array(device, &parts).count(rows).count(rows_each).count(h);
    let name = T::kernel(["rms_norm_backward_f32", "rms_norm_backward_bf16"]);
    launch(device, &NORM, name, Grid::of(blocks, THREADS), arguments)?;
    add_parts(device, &parts, dw)
}
