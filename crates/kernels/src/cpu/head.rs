//! The head of a language model together with its loss: linear, log-softmax and the choice of the target, without all the logits.
//!
//! Logits `[rows, vocab]` outweigh everything else that a training step keeps, and are needed only for two sums per row. So they are made
//! tile by tile: a tile is multiplied out, looked at ([`look`]) and overwritten by the next. Backward makes each tile again, turns it
//! into gradients in place, and multiplies it into the gradients of both factors (Wijmans et al., arXiv:2411.09009, on blocks that fit
//! the last-level cache). That is five products for four; where all logits fit [`KEPT_LOGITS`], they are kept and the fifth is saved.
//!
//! Tiles depend on shapes alone, so results do not depend on the number of threads. They are as tall as they can be: a row of tiles
//! reads the whole weight once, and adds to its whole gradient once.

use std::borrow::Cow;

use rayon::prelude::*;

use super::attention::soft_cap;
use super::linear::threads;
use super::log_prob::{LogProb, Powers, Row, look, slopes, turn};
use super::numbers::Numbers;
use super::product::{View, product};
use super::simd::multiversion;

/// Logits that are kept for the backward pass if there are no more of them: 256 MiB.
pub const KEPT_LOGITS: usize = 1 << 26;

/// Logits of a tile: 16 MiB.
const TILE: usize = 1 << 22;
const TILE_ROWS: usize = 2048;
/// Rows of a weight that are widened at once.
const WIDENED: usize = 2048;
/// Logits that a task caps.
const CAPPED: usize = 1 << 14;

/// What a row of hidden states and a weight are multiplied to: `x[rows, hidden]`, `w[vocab, hidden]`, and what is asked of the product.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Hidden states `[rows, hidden]`.
    pub states: &'a [f32],
    /// Weight `[vocab, hidden]`.
    pub weight: Numbers<'a>,
    /// Targets `[rows]`, each below `vocab`.
    pub targets: &'a [u32],
    /// Logits are divided by it.
    pub temperature: f32,
    /// Width of a state.
    pub hidden: usize,
    /// Logits `z` become `cap tanh(z / cap)` (Gemma 2, arXiv:2408.00118), before they are divided by the temperature.
    pub soft_cap: Option<f32>,
}

/// Rows and columns of the logits.
#[derive(Clone, Copy)]
struct Tile {
    row: usize,
    rows: usize,
    column: usize,
    columns: usize,
}

/// Log-probabilities and entropies of `softmax(x w^T / temperature)`, as [`log_prob`](super::log_prob()) of all logits would give them.
/// `logits` is the [room](Head::room) they are made in; where it has room for all of them, they are left there.
///
/// # Panics
/// If shapes do not match or a target is not below `vocab`.
#[must_use]
pub fn linear_log_prob(head: Head<'_>, logits: &mut [f32]) -> LogProb {
    let (rows, vocab) = head.shape();
    assert!(head.targets.iter().all(|target| (*target as usize) < vocab), "a target is outside the vocabulary");
    let mut seen = vec![Row::default(); rows];
    let mut chosen = vec![0.0; rows];
    let powers = Powers::at(head.temperature);
    for tile in &head.tiles(logits) {
        let logits = &mut logits[..tile.len()];
        head.multiply(tile, logits);
        look(logits, tile.columns, powers, &mut seen[tile.row..][..tile.rows]);
        for (i, (target, chosen)) in
            head.targets[tile.row..].iter().zip(&mut chosen[tile.row..][..tile.rows]).enumerate()
        {
            if let Some(column) = tile.column_of(*target) {
                *chosen = logits[i * tile.columns + column];
            }
        }
    }
    LogProb::of(&seen, chosen.into_iter(), head.temperature)
}

/// `d_states[rows, hidden]`, overwritten, and `d_weight[vocab, hidden]`, added to if it is asked for, from the gradients of log-probability and entropy and
/// from what [`linear_log_prob`] found. `logits` is the room they are made in, and whether they are there already, as that left them.
///
/// # Panics
/// If shapes do not match.
pub fn linear_log_prob_backward(
    head: Head<'_>,
    found: &LogProb,
    (logits, made): (&mut [f32], bool),
    upstream: (&[f32], &[f32]),
    d_states: &mut [f32],
    mut d_weight: Option<&mut [f32]>,
) {
    let weight_fits = d_weight.as_ref().is_none_or(|it| it.len() == head.weight.len());
    assert!(d_states.len() == head.states.len() && weight_fits, "linear_log_prob shapes");
    assert!(!made || head.all_fit(logits), "kept logits are not of this head");
    let slopes = slopes(found, upstream, head.temperature);
    for tile in &head.tiles(logits) {
        let logits = &mut logits[..tile.len()];
        if !made {
            head.multiply(tile, logits);
        }
        let (targets, slopes) = (&head.targets[tile.row..][..tile.rows], &slopes[tile.row..][..tile.rows]);
        let slopes_of_cap = head.soft_cap.map(|cap| cap_slopes(logits, cap));
        turn(logits, tile.columns, tile.column, targets, head.temperature, slopes);
        if let Some(along) = slopes_of_cap {
            logits.iter_mut().zip(along).for_each(|(d, along)| *d *= along);
        }
        head.pull(tile, logits, d_states, d_weight.as_deref_mut());
    }
}

impl Head<'_> {
    /// Rows and vocabulary.
    fn shape(&self) -> (usize, usize) {
        let (rows, vocab) = (self.targets.len(), self.weight.len() / self.hidden);
        let fits = self.states.len() == rows * self.hidden && self.weight.len() == vocab * self.hidden;
        assert!(fits && self.hidden > 0 && vocab > 0, "linear_log_prob shapes");
        (rows, vocab)
    }

    /// Logits that there has to be room for: all of them if they are to be kept and fit [`KEPT_LOGITS`], or a tile.
    #[must_use]
    pub fn room(&self, keep: bool) -> usize {
        let (rows, vocab) = self.shape();
        let all = rows * vocab;
        if keep && all <= KEPT_LOGITS { all } else { tiles(rows, vocab).iter().map(Tile::len).max().unwrap_or(0) }
    }

    /// Whether there is `room` for all logits.
    #[must_use]
    pub fn all_fit(&self, room: &[f32]) -> bool {
        let (rows, vocab) = self.shape();
        room.len() >= rows * vocab
    }

    /// The tiles that logits are made in where there is so much room.
    fn tiles(&self, room: &[f32]) -> Vec<Tile> {
        let (rows, vocab) = self.shape();
        if self.all_fit(room) { vec![Tile { row: 0, rows, column: 0, columns: vocab }] } else { tiles(rows, vocab) }
    }

    /// `logits = x w^T`, capped, of one tile.
    fn multiply(&self, tile: &Tile, logits: &mut [f32]) {
        let (h, x) = (self.hidden, View::rows(self.hidden).at(tile.row * self.hidden));
        for (at, weight) in self.weights(tile) {
            let (shape, to) = ((tile.rows, weight.len() / h, h), View::rows(tile.columns).at(at));
            product(shape, 1.0, (self.states, x), (&weight, View::columns(h)), (logits, to), false, threads());
        }
        if let Some(cap) = self.soft_cap {
            cap_logits(logits, cap);
        }
    }

    /// `dx (+)= d w`, `dw += d^T x`, of one tile: the first of a row of tiles overwrites `dx`.
    fn pull(&self, tile: &Tile, d: &[f32], d_states: &mut [f32], d_weight: Option<&mut [f32]>) {
        let h = self.hidden;
        let (x, w) = (View::rows(h).at(tile.row * h), View::rows(h).at(tile.column * h));
        for (at, weight) in self.weights(tile) {
            let (shape, from) = ((tile.rows, h, weight.len() / h), View::rows(tile.columns).at(at));
            let later = tile.column + at > 0;
            product(shape, 1.0, (d, from), (&weight, View::rows(h)), (d_states, x), later, threads());
        }
        if let Some(d_weight) = d_weight {
            let d_t = (d, View::columns(tile.columns));
            product((tile.columns, h, tile.rows), 1.0, d_t, (self.states, x), (d_weight, w), true, threads());
        }
    }

    /// The rows of the weight that a tile is made with, and how many come before them: all at once, or as they are widened.
    fn weights(&self, tile: &Tile) -> impl Iterator<Item = (usize, Cow<'_, [f32]>)> {
        let (h, first, columns) = (self.hidden, tile.column, tile.columns);
        let step = if matches!(self.weight, Numbers::F32(_)) { columns } else { WIDENED };
        (0..columns).step_by(step.max(1)).map(move |at| {
            let end = columns.min(at + step);
            (at, self.weight.part((first + at) * h..(first + end) * h).to_f32())
        })
    }
}

/// `logits = cap tanh(logits / cap)`.
pub fn cap_logits(logits: &mut [f32], cap: f32) {
    logits.par_chunks_mut(CAPPED).for_each(|logits| cap_chunk(logits, cap));
}

multiversion! {
    fn cap_chunk<const FMA: bool>(logits: &mut [f32], cap: f32) {
        logits.iter_mut().for_each(|z| *z = soft_cap::<FMA>(*z, cap));
    }
}

/// How much of a change comes through the cap, from the capped logits.
fn cap_slopes(logits: &[f32], cap: f32) -> Vec<f32> {
    logits.iter().map(|z| 1.0 - (z / cap) * (z / cap)).collect()
}

impl Tile {
    fn len(&self) -> usize {
        self.rows * self.columns
    }

    fn column_of(&self, target: u32) -> Option<usize> {
        (target as usize).checked_sub(self.column).filter(|column| *column < self.columns)
    }
}

/// Tiles of at most [`TILE`] logits, a row of them after another; fixed by the shape.
fn tiles(rows: usize, vocab: usize) -> Vec<Tile> {
    let tall = TILE_ROWS.min(rows).max(1);
    let wide = (TILE / tall).min(vocab);
    let row = |row: usize| {
        let tile =
            move |column: usize| Tile { row, rows: tall.min(rows - row), column, columns: wide.min(vocab - column) };
        (0..vocab).step_by(wide).map(tile)
    };
    (0..rows).step_by(tall).flat_map(row).collect()
}
