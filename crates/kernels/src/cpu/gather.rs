//! Rows by index: embeddings, and the rows that are scored.

use rayon::prelude::*;

use super::numbers::{Numbers, widen};

const ROWS: usize = 64;
/// Tasks of a scatter; each owns a range of the target's rows.
const RANGES: usize = 64;

/// `out[i, :] = from[ids[i], :]`, with rows `width` wide.
///
/// # Panics
/// If an id is not a row of `from`.
pub fn gather_rows(from: &[f32], ids: &[u32], out: &mut [f32], width: usize) {
    embed(from.into(), ids, out, width);
}

/// The same, of a table of either kind.
///
/// # Panics
/// If an id is not a row of `table`.
pub fn embed(table: Numbers<'_>, ids: &[u32], out: &mut [f32], width: usize) {
    assert_eq!(out.len(), ids.len() * width, "gather shapes");
    out.par_chunks_mut(ROWS * width).zip(ids.par_chunks(ROWS)).for_each(|(out, ids)| {
        for (out, id) in out.chunks_exact_mut(width).zip(ids) {
            match table.part(*id as usize * width..(*id as usize + 1) * width) {
                Numbers::F32(row) => out.copy_from_slice(row),
                Numbers::Bf16(row) => widen(row, out),
            }
        }
    });
}

/// `to[ids[i], :] += from[i, :]`, in the order of `i` for each row of `to`.
///
/// # Panics
/// If an id is not a row of `to`.
pub fn scatter_add_rows(from: &[f32], ids: &[u32], to: &mut [f32], width: usize) {
    assert_eq!(from.len(), ids.len() * width, "scatter shapes");
    let rows = to.len() / width;
    assert!(ids.iter().all(|id| (*id as usize) < rows), "an id is not a row");
    let range = rows.div_ceil(RANGES).max(1);
    to.par_chunks_mut(range * width).enumerate().for_each(|(task, to)| {
        let first = task * range;
        for (from, id) in from.chunks_exact(width).zip(ids) {
            let at = (*id as usize).checked_sub(first).filter(|at| at * width < to.len());
            if let Some(at) = at {
                to[at * width..][..width].iter_mut().zip(from).for_each(|(to, from)| *to += from);
            }
        }
    });
}
