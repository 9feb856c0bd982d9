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
    /// Where the first factor and the result begin.
    pub at: [usize; 2],
}

fn multiply<D: Device>(
    device: &D,
    product: Product,
    a: &Array<D, f32>,
    b: &Array<D, f32>,
    c: &mut Array<D, f32>,
) -> Result<(), DeviceError> {
    let Product { m, n, k, at, .. } = product;
    assert!(at[0] + m * k <= a.len() && b.len() == k * n && at[1] + m * n <= c.len(), "product shapes");
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
    assert!(x.len() == m * k && y.len() == m * n, "product shapes");
    multiply(device, Product { m, n, k, a_turned: false, b_turned: true, add, at: [0, 0] }, x, w, y)
}

/// Rows that [`linear_by_rows`] multiplies at a time.
pub const ROWS_AT_A_TIME: usize = 64;

/// The same by blocks of [`ROWS_AT_A_TIME`] rows, of which `m` has to be a multiple: what becomes of a row does not depend on how many there
/// are, though a library cuts its sums by the shape of a product.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another, or rows are left over.
pub fn linear_by_rows<D: Device>(
    device: &D,
    x: &Array<D, f32>,
    w: &Array<D, f32>,
    y: &mut Array<D, f32>,
    (m, k, n): (usize, usize, usize),
    add: bool,
) -> Result<(), DeviceError> {
    assert!(x.len() == m * k && y.len() == m * n && m.is_multiple_of(ROWS_AT_A_TIME), "product shapes");
    for row in (0..m).step_by(ROWS_AT_A_TIME) {
        let at = [row * k, row * n];
        multiply(device, Product { m: ROWS_AT_A_TIME, n, k, a_turned: false, b_turned: true, add, at }, x, w, y)?;
    }
    Ok(())
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
    assert!(dy.len() == m * n && dx.len() == m * k, "product shapes");
    multiply(device, Product { m, n: k, k: n, a_turned: false, b_turned: false, add: false, at: [0, 0] }, dy, w, dx)
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
    assert!(dy.len() == m * n && dw.len() == n * k, "product shapes");
    multiply(device, Product { m: n, n: k, k: m, a_turned: true, b_turned: false, add: true, at: [0, 0] }, dy, x, dw)
}
