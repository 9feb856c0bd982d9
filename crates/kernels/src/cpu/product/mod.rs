//! Matrix products of any strides.
//!
//! The right factor is laid out in panels as wide as two registers; chunks of rows of the left one are copied to where the inner cache
//! holds them, and a tile of rows times a panel stays in registers ([`tile`]; Goto and van de Geijn, doi:10.1145/1356052.1356053). What
//! is summed over is cut into blocks, each summed apart. Cuts depend on shapes alone, so no bit depends on the number of threads; and
//! a row's bits depend on no other row, unless the left factor lies in columns (the gradient of a weight).

mod factors;
mod layout;
mod panels;
mod right;
mod tasks;
mod tile;

use factors::Factors;
pub(crate) use layout::Scratch;
pub use panels::{Panels, multiply};
pub(crate) use right::Right;
use tile::Tile;
pub(crate) use tile::WIDEST;

/// A matrix inside a slice.
#[derive(Clone, Copy)]
pub(crate) struct View {
    pub(crate) offset: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl View {
    pub(crate) fn rows(row_stride: usize) -> Self {
        Self { offset: 0, row_stride, column_stride: 1 }
    }

    pub(crate) fn columns(row_stride: usize) -> Self {
        Self { offset: 0, row_stride: 1, column_stride: row_stride }
    }

    pub(crate) fn at(self, offset: usize) -> Self {
        Self { offset, ..self }
    }

    /// The same from `row` and `column` on.
    fn from(self, row: usize, column: usize) -> Self {
        self.at(self.offset + row * self.row_stride + column * self.column_stride)
    }

    fn end(&self, rows: usize, columns: usize) -> usize {
        self.offset + (rows - 1) * self.row_stride + (columns - 1) * self.column_stride + 1
    }
}

/// `c[m, n] = scale * a[m, k] b[k, n]`, plus `c` itself if `accumulate`, of `shape` `(m, n, k)`; `c` lies in rows.
pub(crate) fn product(
    shape: (usize, usize, usize),
    scale: f32,
    a: (&[f32], View),
    b: (&[f32], View),
    c: (&mut [f32], View),
    accumulate: bool,
    threads: usize,
) {
    Factors { shape, scale, a, b, tile: Tile::chosen() }.multiply_into(c, accumulate, threads);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: usize, n: usize) -> Vec<f32> {
        crate::reference::numbers(seed, n).into_iter().map(|x| x as f32).collect()
    }

    #[test]
    fn a_column_does_not_depend_on_how_many_there_are() {
        let (m, k) = (13, 400);
        let (a, b) = (numbers(1, m * k), numbers(2, 96 * k));
        let columns = |n: usize| {
            let mut c = vec![1.0; m * n];
            product((m, n, k), 0.3, (&a, View::rows(k)), (&b, View::columns(k)), (&mut c, View::rows(n)), true, 1);
            c.chunks_exact(n).flat_map(|row| row[..35].iter().map(|x| x.to_bits())).collect::<Vec<_>>()
        };
        assert_eq!(columns(35), columns(96));
    }

    #[test]
    fn tiles_of_all_measures_find_the_same() {
        for (m, n, k) in [(26, 200, 400), (40, 35, 20), (30, 50, 2100), (1, 1, 1)] {
            let (a, b) = (numbers(1, m * k), numbers(2, k * n));
            for (va, vb) in [(View::rows(k), View::columns(k)), (View::columns(m), View::rows(n))] {
                let [own, largest] = [Tile::chosen(), Tile::largest()].map(|tile| {
                    let mut c = vec![1.0; m * n];
                    Factors { shape: (m, n, k), scale: 0.5, a: (&a, va), b: (&b, vb), tile }.multiply_into(
                        (&mut c, View::rows(n)),
                        true,
                        1,
                    );
                    c
                });
                let off = own.iter().zip(&largest).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
                assert!(off < 1e-4, "{m} by {n} over {k} is {off} off");
            }
        }
    }
}
