//! Selective log-softmax: the log-probability of one chosen token per row and the entropy of the row, in one pass over the logits.
//!
//! Forward, the logits come from memory once: while the exponentials of one block are summed, the largest logit of the next is found, and
//! by the time its own turn comes a block lies in the first-level cache. The sums are scaled down when a block brings a larger logit.
//! Sum and entropy come out of the same loop: with `d = z - largest` and `T` the temperature, `sum e^(d/T)` and `sum d e^(d/T)`.
//!
//! Backward, with `p = softmax(z / T)`, `H` the entropy, `t` the target: `dz = (g_lp (1[j = t] - p) - g_H p (log p + H)) / T`, of which
//! only `e^(d/T) (a + b d)` is left for each logit. It may overwrite the logits, so that one buffer is all it takes.
//!
//! Whether multiplications are fused decides the last bits, hence these agree between AVX2 and AVX-512 only.

use rayon::prelude::*;

use super::simd::{exp2_product, larger, mul_add, multiversion, sum_lanes};

/// Rows of a task.
const ROWS: usize = 16;
const WIDE: usize = 16;
/// Groups of [`WIDE`] logits in a block. This block and the next, 16 KiB together, stay within the first-level cache.
const BLOCK: usize = 128;

/// What the forward pass found for each row.
#[derive(Debug, Clone, PartialEq)]
pub struct LogProb {
    /// Log-probability of the target, nats.
    pub log_prob: Vec<f32>,
    /// Entropy of the row, nats.
    pub entropy: Vec<f32>,
    /// Largest logit of the row. Kept apart from `sum`, for the backward pass: near 1e4 their logarithms add up to a multiple of 1e-3.
    pub largest: Vec<f32>,
    /// Sum of the row's exponentials after `largest` was subtracted from its logits.
    pub sum: Vec<f32>,
}

/// Log-probabilities of `targets[rows]` and entropies under `softmax(logits[rows, vocab] / temperature)`. NaN for a row that is no
/// distribution: one with a NaN or a positive infinity in it, or with negative infinities only.
///
/// # Panics
/// If a target is not below `vocab`.
#[must_use]
pub fn log_prob(logits: &[f32], targets: &[u32], temperature: f32, vocab: usize) -> LogProb {
    assert_eq!(logits.len(), targets.len() * vocab, "log_prob shapes");
    let mut rows = vec![Row::default(); targets.len()];
    look(logits, vocab, Powers::at(temperature), &mut rows);
    let chosen = logits.chunks_exact(vocab.max(1)).zip(targets).map(|(row, target)| row[*target as usize]);
    LogProb::of(&rows, chosen, temperature)
}

/// `d_logits[rows, vocab]` from the gradients of log-probability and entropy, and what [`log_prob`] found.
pub fn log_prob_backward(
    logits: &[f32],
    targets: &[u32],
    temperature: f32,
    forward: &LogProb,
    upstream: (&[f32], &[f32]),
    d_logits: &mut [f32],
) {
    let rows = targets.len();
    if rows == 0 {
        return;
    }
    let (vocab, slopes) = (logits.len() / rows, slopes(forward, upstream, temperature));
    assert!(logits.len() == rows * vocab && d_logits.len() == logits.len(), "log_prob shapes");
    let powers = Powers::at(temperature);
    let chunks = d_logits.par_chunks_mut(ROWS * vocab).zip(logits.par_chunks(ROWS * vocab));
    chunks.zip(slopes.par_chunks(ROWS)).for_each(|((d, z), slopes)| slope_rows(z, d, vocab, powers, slopes));
    add_chosen(d_logits, vocab, 0, targets, &slopes);
}

/// [`log_prob_backward`] in place: logits `[rows, vocab]` to their gradients, bit by bit the same.
pub fn log_prob_backward_in_place(
    logits: &mut [f32],
    targets: &[u32],
    temperature: f32,
    forward: &LogProb,
    upstream: (&[f32], &[f32]),
) {
    let rows = targets.len();
    if rows == 0 {
        return;
    }
    let (vocab, slopes) = (logits.len() / rows, slopes(forward, upstream, temperature));
    assert_eq!(logits.len(), rows * vocab, "log_prob shapes");
    turn(logits, vocab, 0, targets, temperature, &slopes);
}

impl LogProb {
    /// Of rows that were looked at to their end, and the logits of their targets.
    pub(crate) fn of(rows: &[Row], chosen: impl Iterator<Item = f32>, temperature: f32) -> Self {
        let scale = 1.0 / temperature;
        let list = || Vec::with_capacity(rows.len());
        let mut found = Self { log_prob: list(), entropy: list(), largest: list(), sum: list() };
        for (row, chosen) in rows.iter().zip(chosen) {
            let sum = row.checked_sum();
            let log_sum = sum.ln();
            found.log_prob.push((chosen - row.largest) * scale - log_sum);
            found.entropy.push(log_sum - row.moment * scale / sum);
            found.largest.push(row.largest);
            found.sum.push(sum);
        }
        found
    }
}

/// A row of logits as far as it was looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    largest: f32,
    /// Sum of `e^(d / T)` with `d = z - largest`.
    sum: f32,
    /// Sum of `d e^(d / T)`.
    moment: f32,
}

impl Default for Row {
    fn default() -> Self {
        // Finite, so that nothing is infinitely far from it.
        Self { largest: f32::MIN, sum: 0.0, moment: 0.0 }
    }
}

impl Row {
    /// The sum, unless the row is no distribution.
    fn checked_sum(&self) -> f32 {
        // The largest logit adds 1; only a row of negative infinities stays below. A NaN may be lost in a power but not in the moment.
        if self.sum < 0.5 { f32::NAN } else { self.sum + 0.0 * self.moment }
    }
}

/// How far below the largest logit a logit stands, as a power of two.
#[derive(Clone, Copy)]
pub(crate) struct Powers {
    /// `2^(d factor) = e^(d / T)`.
    factor: f32,
    /// Below it a probability is 0 for every purpose, but a finite distance: `0 * ln 0` must come out as 0 for an impossible token.
    least: f32,
}

impl Powers {
    pub(crate) fn at(temperature: f32) -> Self {
        let factor = std::f32::consts::LOG2_E / temperature;
        Self { factor, least: -125.0 / factor }
    }

    /// `z - largest`, but never below `least`; of a NaN, a NaN.
    #[inline(always)]
    fn distance(self, z: f32, largest: f32) -> f32 {
        let d = z - largest;
        if self.least > d { self.least } else { d }
    }
}

/// Looks at more of every row: `logits[rows, width]` are the next `width` logits of each.
pub(crate) fn look(logits: &[f32], width: usize, powers: Powers, rows: &mut [Row]) {
    let chunks = logits.par_chunks((ROWS * width).max(1)).zip(rows.par_chunks_mut(ROWS));
    chunks.for_each(|(logits, rows)| look_rows(logits, width, powers, rows));
}

multiversion! {
    fn look_rows<const FMA: bool>(logits: &[f32], width: usize, powers: Powers, rows: &mut [Row]) {
        for (logits, row) in logits.chunks_exact(width).zip(rows) {
            *row = look_row::<FMA>(logits, powers, *row);
        }
    }
}

#[inline(always)]
fn look_row<const FMA: bool>(logits: &[f32], powers: Powers, mut row: Row) -> Row {
    let (wide, rest) = logits.as_chunks::<WIDE>();
    let mut last = [f32::NEG_INFINITY; WIDE];
    last[..rest.len()].copy_from_slice(rest);
    let (mut block, mut later) = wide.split_at(wide.len().min(BLOCK));
    let mut ahead = largest(block);
    while !block.is_empty() {
        let (next, even_later) = later.split_at(later.len().min(BLOCK));
        row.measure_from::<FMA>(ahead, powers);
        ahead = row.add_block::<FMA>(block, next, powers);
        (block, later) = (next, even_later);
    }
    if !rest.is_empty() {
        row.measure_from::<FMA>(largest(&[last]), powers);
        row.add_block::<FMA>(&[last], &[], powers);
    }
    row
}

#[inline(always)]
fn largest(block: &[[f32; WIDE]]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; WIDE];
    for z in block {
        for i in 0..WIDE {
            lanes[i] = larger(z[i], lanes[i]);
        }
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, larger)
}

impl Row {
    /// Measures distances from `largest` from now on, if that is larger than what they were measured from.
    #[inline(always)]
    fn measure_from<const FMA: bool>(&mut self, largest: f32, powers: Powers) {
        if largest > self.largest {
            let d = powers.distance(self.largest, largest);
            let power = exp2_product::<FMA>(d, powers.factor);
            self.moment = (self.moment + d * self.sum) * power;
            self.sum *= power;
            self.largest = largest;
        }
    }

    /// Adds a block; returns the largest logit of the one after it, which is at most as long.
    #[inline(always)]
    fn add_block<const FMA: bool>(&mut self, block: &[[f32; WIDE]], next: &[[f32; WIDE]], powers: Powers) -> f32 {
        let (mut sums, mut moments, mut ahead) = ([0f32; WIDE], [0f32; WIDE], [f32::NEG_INFINITY; WIDE]);
        let (paired, alone) = block.split_at(next.len().min(block.len()));
        for (z, next) in paired.iter().zip(next) {
            add_lanes::<FMA>(z, self.largest, powers, &mut sums, &mut moments);
            for i in 0..WIDE {
                ahead[i] = larger(next[i], ahead[i]);
            }
        }
        for z in alone {
            add_lanes::<FMA>(z, self.largest, powers, &mut sums, &mut moments);
        }
        self.sum += sum_lanes(&sums);
        self.moment += sum_lanes(&moments);
        ahead.into_iter().fold(f32::NEG_INFINITY, larger)
    }
}

#[inline(always)]
fn add_lanes<const FMA: bool>(
    z: &[f32; WIDE],
    largest: f32,
    powers: Powers,
    sums: &mut [f32; WIDE],
    moments: &mut [f32; WIDE],
) {
    for i in 0..WIDE {
        let d = powers.distance(z[i], largest);
        let power = exp2_product::<FMA>(d, powers.factor);
        sums[i] += power;
        moments[i] = mul_add::<FMA>(power, d, moments[i]);
    }
}

/// What turns a row of logits into gradients: `e^(d / T) (constant + along d)`, and `chosen` more for the target.
#[derive(Clone, Copy)]
pub(crate) struct Slope {
    largest: f32,
    constant: f32,
    along: f32,
    chosen: f32,
}

/// The slopes of every row, from the gradients of log-probability and entropy.
pub(crate) fn slopes(found: &LogProb, (d_log_prob, d_entropy): (&[f32], &[f32]), temperature: f32) -> Vec<Slope> {
    let rows = found.sum.len();
    assert!(d_log_prob.len() == rows && d_entropy.len() == rows, "log_prob shapes");
    let scale = 1.0 / temperature;
    let slope = |i: usize| {
        let (g, h, weight) = (d_log_prob[i], d_entropy[i], -scale / found.sum[i]);
        // log p + H = d / T - log sum + H
        let constant = weight * (g + h * (found.entropy[i] - found.sum[i].ln()));
        Slope { largest: found.largest[i], constant, along: weight * h * scale, chosen: g * scale }
    };
    (0..rows).map(slope).collect()
}

/// Turns `logits[rows, width]`, which begin at column `first` of their rows, into gradients.
pub(crate) fn turn(
    logits: &mut [f32],
    width: usize,
    first: usize,
    targets: &[u32],
    temperature: f32,
    slopes: &[Slope],
) {
    let powers = Powers::at(temperature);
    let chunks = logits.par_chunks_mut(ROWS * width).zip(slopes.par_chunks(ROWS));
    chunks.for_each(|(logits, slopes)| turn_rows(logits, width, powers, slopes));
    add_chosen(logits, width, first, targets, slopes);
}

fn add_chosen(d_logits: &mut [f32], width: usize, first: usize, targets: &[u32], slopes: &[Slope]) {
    for ((d, target), slope) in d_logits.chunks_exact_mut(width).zip(targets).zip(slopes) {
        if let Some(d) = (*target as usize).checked_sub(first).and_then(|column| d.get_mut(column)) {
            *d += slope.chosen;
        }
    }
}

impl Slope {
    #[inline(always)]
    fn at<const FMA: bool>(self, z: f32, powers: Powers) -> f32 {
        let d = powers.distance(z, self.largest);
        exp2_product::<FMA>(d, powers.factor) * mul_add::<FMA>(self.along, d, self.constant)
    }
}

multiversion! {
    fn turn_rows<const FMA: bool>(logits: &mut [f32], width: usize, powers: Powers, slopes: &[Slope]) {
        for (row, slope) in logits.chunks_exact_mut(width).zip(slopes) {
            row.iter_mut().for_each(|z| *z = slope.at::<FMA>(*z, powers));
        }
    }
}

multiversion! {
    fn slope_rows<const FMA: bool>(logits: &[f32], d_logits: &mut [f32], width: usize, powers: Powers, slopes: &[Slope]) {
        for ((row, d), slope) in logits.chunks_exact(width).zip(d_logits.chunks_exact_mut(width)).zip(slopes) {
            d.iter_mut().zip(row).for_each(|(d, z)| *d = slope.at::<FMA>(*z, powers));
        }
    }
}
