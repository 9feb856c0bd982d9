//! Products of matrices, by the vendor's library where there is a GPU.

use super::array::Array;
use super::device::{Device, DeviceError};

/// `c[m, n] = a[m, k] b[k, n]`, row by row, or added to what `c` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// Rows of the result.
    pub m: usize,
    /// Its columns.
    pub n: usize,
    /// What is summed over.
    pub k: usize,
    /// Whether the first factor lies there as `[k, m]`.
    pub a_turned: bool,
    /// Whether the second factor lies there as `[n, k]`.
    pub b_turned: bool,
    /// Whether the result is added to what is there.
    pub add: bool,
}

fn multiply<D: Device>(
    device: &D,
    product: Product,
    a: &Array<D, f32>,
    b: &Array<D, f32>,
    c: &mut Array<D, f32>,
) -> Result<(), DeviceError> {
    let Product { m, n, k, .. } = product;
    assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n, "product shapes");
    if m * n * k == 0 {
        return Ok(());
    }
    device.multiply(product, &a.memory, &b.memory, &mut c.memory)
}

/// `y[m, n] = x[m, k] w[n, k]^T`, or added to what `y` holds. Factors are rounded to TF32 (10 bits) where there are tensor cores, sums are f32.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another.
pub fn linear<D: Device>(
    device: &D,
    x: &Array<D, f32>,
    w: &Array<D, f32>,
    y: &mut Array<D, f32>,
    (m, k, n): (usize, usize, usize),
    add: bool,
) -> Result<(), DeviceError> {
    multiply(device, Product { m, n, k, a_turned: false, b_turned: true, add }, x, w, y)
}

/// `dx[m, k] = dy[m, n] w[n, k]`.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another.
pub fn linear_input_gradient<D: Device>(
    device: &D,
    dy: &Array<D, f32>,
    w: &Array<D, f32>,
    dx: &mut Array<D, f32>,
    (m, k, n): (usize, usize, usize),
) -> Result<(), DeviceError> {
    multiply(device, Product { m, n: k, k: n, a_turned: false, b_turned: false, add: false }, dy, w, dx)
}

/// `dw[n, k] += dy[m, n]^T x[m, k]`.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another.
pub fn linear_weight_gradient_add<D: Device>(
    device: &D,
    dy: &Array<D, f32>,
    x: &Array<D, f32>,
    dw: &mut Array<D, f32>,
    (m, k, n): (usize, usize, usize),
) -> Result<(), DeviceError> {
    multiply(device, Product { m: n, n: k, k: m, a_turned: true, b_turned: false, add: true }, dy, x, dw)
}
