//! Sharing a product out to threads.

use std::ops::Range;

use rayon::prelude::*;

use super::tile::{Out, Tile};

/// Rows of a task at most: with a block of each in the second cache, and few enough for threads to end together.
const ROWS: usize = 96;
/// Rows of a task at least, if there are so many: fewer would read panels more often than they multiply.
const FEWEST: usize = ROWS / 2;
/// Multiply-adds of a task at least.
const WORTHWHILE: usize = 1 << 18;
/// Tasks for each thread, if they are worth it: so that one that is held up does not hold up all.
pub(super) const TASKS: usize = 8;

/// How many tasks a product of shape `(m, n, k)` is worth.
pub(super) fn tasks((m, n, k): (usize, usize, usize), threads: usize) -> usize {
    if threads > 1 { (m * n * k / WORTHWHILE).clamp(1, TASKS * threads) } else { 1 }
}

/// Rows of a task, of about `tasks`: as equal as tiles allow, so that none is left with few.
fn height(rows: usize, tasks: usize, tile: Tile) -> usize {
    let down = tasks.clamp(rows.div_ceil(ROWS), (rows / FEWEST).max(1));
    rows.div_ceil(down).next_multiple_of(tile.rows)
}

/// Runs `task` on parts of what is written, of `shape` `(rows, columns)`, about `tasks` of them: on its first row, how many it has, its columns, which
/// begin with a panel, and where it begins.
pub(super) fn share(
    (rows, columns): (usize, usize),
    tile: Tile,
    out: Out,
    tasks: usize,
    task: impl Fn(usize, usize, Range<usize>, Out) + Sync + Send,
) {
    let tall = height(rows, tasks, tile);
    let down = rows.div_ceil(tall);
    let wide = columns.div_ceil(tile.columns).div_ceil(tasks.div_ceil(down)) * tile.columns;
    let across = columns.div_ceil(wide);
    let out = Shared(out);
    let part = |i: usize| {
        let (row, column) = (i / across * tall, i % across * wide);
        let part = column..columns.min(column + wide);
        task(row, tall.min(rows - row), part, out.get().down(row).right(column));
    };
    if tasks > 1 {
        (0..down * across).into_par_iter().for_each(part);
    } else {
        (0..down * across).for_each(part);
    }
}

/// Where tasks write rows and columns of their own.
struct Shared(Out);

impl Shared {
    fn get(&self) -> Out {
        self.0
    }
}

// SAFETY: it is only an address; who writes there answers for it.
#[allow(unsafe_code)]
unsafe impl Sync for Shared {}

pub(super) fn for_each_chunk(
    parallel: bool,
    values: &mut [f32],
    size: usize,
    f: impl Fn(usize, &mut [f32]) + Sync + Send,
) {
    if parallel {
        values.par_chunks_mut(size).enumerate().for_each(|(i, chunk)| f(i, chunk));
    } else {
        values.chunks_mut(size).enumerate().for_each(|(i, chunk)| f(i, chunk));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_of_about_one_height() {
        for tile in [Tile::chosen(), Tile::largest()] {
            for (rows, tasks) in (1..1000).flat_map(|rows| [(rows, 1), (rows, 16)]) {
                let tall = height(rows, tasks, tile);
                assert!(tall <= ROWS && tall.is_multiple_of(tile.rows), "{rows} rows are cut into {tall}");
                assert!(tall >= FEWEST.min(rows), "{rows} rows are cut into {tall}");
            }
        }
        assert!(height(64, 16, Tile::chosen()) >= 64);
    }
}
