//! Rows by index, and sums of rows and columns.

use super::arguments::Arguments;
use super::array::Array;
use super::device::{Device, DeviceError, Grid, launch};
use super::source::ROWS;

const THREADS: u32 = 256;
/// Sums of columns before they are added up, at the most. A fixed number, so that sums do not depend on the device.
const PARTS: usize = 128;

/// `to[first + i, :] = from[rows[i], :]`, rows `width` wide. Rows beyond `from` are the caller's mistake.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If they leave `to`.
pub fn gather_rows<D: Device>(
    device: &D,
    from: &Array<D, f32>,
    rows: &Array<D, u32>,
    to: &mut Array<D, f32>,
    (first, width): (usize, usize),
) -> Result<(), DeviceError> {
    assert!((first + rows.len()) * width <= to.len() && from.len().is_multiple_of(width), "gather shapes");
    let arguments = Arguments::default().array(device, from).array(device, rows).array(device, to);
    launch(device, &ROWS, "gather_rows_f32", Grid::of(rows.len(), THREADS), arguments.count(first).count(width))
}

/// Where rows are added: for every row that receives something, the list of those that are added to it.
#[derive(Debug)]
pub struct Scatter<D: Device> {
    targets: Array<D, u32>,
    starts: Array<D, u32>,
    sources: Array<D, u32>,
    rows: usize,
}

impl<D: Device> Scatter<D> {
    /// Row `i` is added to row `to[i]`, of `rows`.
    ///
    /// # Errors
    /// [`DeviceError::Driver`] if there is not as much memory.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn new(device: &D, to: &[u32], rows: usize) -> Result<Self, DeviceError> {
        assert!(to.iter().all(|target| (*target as usize) < rows), "scatter shapes");
        let mut sources: Vec<u32> = (0..to.len() as u32).collect();
        sources.sort_by_key(|source| to[*source as usize]);
        let (mut targets, mut starts) = (Vec::new(), Vec::new());
        for (at, source) in sources.iter().enumerate() {
            let target = to[*source as usize];
            if targets.last() != Some(&target) {
                targets.push(target);
                starts.push(at as u32);
            }
        }
        starts.push(to.len() as u32);
        let upload = |list: &[u32]| Array::from_slice(device, list);
        Ok(Self { targets: upload(&targets)?, starts: upload(&starts)?, sources: upload(&sources)?, rows })
    }
}

/// Adds the rows of `from` to those of `to`, `width` wide, in their order.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If the arrays' lengths do not fit one another.
pub fn scatter_rows<D: Device>(
    device: &D,
    from: &Array<D, f32>,
    scatter: &Scatter<D>,
    to: &mut Array<D, f32>,
    width: usize,
) -> Result<(), DeviceError> {
    let fits = from.len() == scatter.sources.len() * width && to.len() == scatter.rows * width;
    assert!(fits, "scatter shapes");
    let arguments = Arguments::default().array(device, from).array(device, &scatter.targets);
    let arguments = arguments.array(device, &scatter.starts).array(device, &scatter.sources).array(device, to);
    launch(device, &ROWS, "scatter_rows_f32", Grid::of(scatter.targets.len(), THREADS), arguments.count(width))
}

/// `y += x`.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If they are not equally long.
pub fn add<D: Device>(device: &D, x: &Array<D, f32>, y: &mut Array<D, f32>) -> Result<(), DeviceError> {
    assert_eq!(x.len(), y.len(), "add shapes");
    let arguments = Arguments::default().array(device, x).array(device, y).long(x.len());
    launch(device, &ROWS, "add_f32", Grid::of(x.len().div_ceil(4 * THREADS as usize), THREADS), arguments)
}

/// `y[row, :] += bias`.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If rows are not as long as the bias.
pub fn add_bias<D: Device>(device: &D, y: &mut Array<D, f32>, bias: &Array<D, f32>) -> Result<(), DeviceError> {
    assert!(y.len().is_multiple_of(bias.len()), "bias shapes");
    let arguments = Arguments::default().array(device, y).array(device, bias).count(bias.len());
    launch(device, &ROWS, "add_bias_f32", Grid::of(y.len() / bias.len(), THREADS), arguments)
}

/// `sum += sum over rows of x[rows, sum.len()]`: what a bias receives.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If rows are not as long as the sum.
pub fn add_columns<D: Device>(device: &D, x: &Array<D, f32>, sum: &mut Array<D, f32>) -> Result<(), DeviceError> {
    let width = sum.len();
    let rows = x.len() / width;
    assert_eq!(rows * width, x.len(), "column shapes");
    let rows_each = rows.div_ceil(PARTS).max(1);
    let parts = Array::<D, f32>::new(device, rows.div_ceil(rows_each) * width)?;
    let arguments = Arguments::default().array(device, x).array(device, &parts);
    let blocks = [width.div_ceil(THREADS as usize) as u32, rows.div_ceil(rows_each) as u32, 1];
    let arguments = arguments.count(rows).count(rows_each).count(width);
    launch(device, &ROWS, "sum_columns_f32", Grid { blocks, threads: THREADS }, arguments)?;
    add_parts(device, &parts, sum)
}

/// `sum += ` all rows of `parts`.
pub(super) fn add_parts<D: Device>(
    device: &D,
    parts: &Array<D, f32>,
    sum: &mut Array<D, f32>,
) -> Result<(), DeviceError> {
    let width = sum.len();
    let arguments = Arguments::default().array(device, parts).array(device, sum);
    let blocks = Grid::of(width.div_ceil(THREADS as usize), THREADS);
    launch(device, &ROWS, "add_parts_f32", blocks, arguments.count(parts.len() / width).count(width))
}
