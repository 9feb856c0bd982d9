//! Root-mean-square norm of queries and keys, which stand in a row beside values.

use super::arguments::Arguments;
use super::array::Array;
use super::device::{Device, DeviceError, Grid, launch};
use super::rows::add_parts;
use super::source::HEAD_NORM;

const THREADS: u32 = 256;
/// As in `cu/head_norm.cu`.
const WIDEST: usize = 256;
/// Sums of the weights' gradient before they are added up, at the most.
const PARTS: usize = 256;

/// Which columns of a row are normed: `groups` times as many as there are weights from `start` on, group by group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Columns of a row.
    pub width: usize,
    /// The first that is normed.
    pub start: usize,
    /// How many groups are, each by itself.
    pub groups: usize,
}

impl Span {
    /// Rows of `x`, whose columns are normed with `w`.
    fn rows<D: Device>(&self, x: &Array<D, f32>, w: &Array<D, f32>) -> usize {
        let fits = self.start + self.groups * w.len() <= self.width && x.len().is_multiple_of(self.width);
        assert!(fits && (1..=WIDEST).contains(&w.len()), "head_norm shapes");
        x.len() / self.width
    }
}

/// Writes the normed columns of `x[rows, width]` to `y`, and leaves its others.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// If shapes do not fit one another, or there are more than 256 weights.
pub fn head_norm<D: Device>(
    device: &D,
    x: &Array<D, f32>,
    w: &Array<D, f32>,
    eps: f32,
    span: Span,
    y: &mut Array<D, f32>,
) -> Result<(), DeviceError> {
    let rows = span.rows(x, w);
    assert_eq!(x.len(), y.len(), "head_norm shapes");
    let Span { width, start, groups } = span;
    let arguments = Arguments::default().array(device, x).array(device, w).array(device, y).float(eps);
    let arguments = arguments.count(rows).count(width).count(start).count(groups).count(w.len());
    let blocks = Grid::of((rows * groups * 32).div_ceil(THREADS as usize), THREADS);
    launch(device, &HEAD_NORM, "head_norm_f32", blocks, arguments)
}

/// Writes the gradient of the normed columns of `x` to `dx`, and adds that of the weights to `dw`.
///
/// # Errors
/// [`DeviceError`].
///
/// # Panics
/// As [`head_norm`].
#[allow(clippy::too_many_arguments, reason = "what a gradient is made from, and where it goes")]
pub fn head_norm_backward<D: Device>(
    device: &D,
    dy: &Array<D, f32>,
    x: &Array<D, f32>,
    w: &Array<D, f32>,
    eps: f32,
    span: Span,
    dx: &mut Array<D, f32>,
    dw: &mut Array<D, f32>,
) -> Result<(), DeviceError> {
    let rows = span.rows(x, w);
    assert!(dy.len() == x.len() && dx.len() == x.len() && dw.len() == w.len(), "head_norm shapes");
    let Span { width, start, groups } = span;
    let rows_each = rows.div_ceil(PARTS).max(1);
    let blocks = rows.div_ceil(rows_each);
    let parts = Array::<D, f32>::new(device, blocks * w.len())?;
    let arguments = Arguments::default().array(device, dy).array(device, x).array(device, w).array(device, dx);
    let arguments = arguments.array(device, &parts).float(eps).count(rows).count(rows_each).count(width);
    let arguments = arguments.count(start).count(groups).count(w.len());
    launch(device, &HEAD_NORM, "head_norm_backward_f32", Grid::of(blocks, THREADS), arguments)?;
    add_parts(device, &parts, dw)
}
