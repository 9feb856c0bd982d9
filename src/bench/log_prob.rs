//! How fast the log-probabilities of chosen tokens are found over a large vocabulary, and their gradient.

use anyhow::Result;
use serde_json::{Map, json};
use stateset_domain::{Stream, sha256_hex};
use stateset_kernels::cpu::{log_prob as forward, log_prob_backward as backward};

use super::measure::{Listener, Progress, Repeats};
use super::report::{Measured, Report, Work};
use super::roof::Threads;
use crate::device::Place;

/// Logits to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Logits {
    /// Scored tokens.
    pub(crate) rows: usize,
    /// Logits of each.
    pub(crate) vocab: usize,
    /// What they are drawn from.
    pub(crate) seed: u64,
}

/// Measures the forward and the backward pass of selective log-softmax with entropy over `logits`. The least that must be done is to read
/// the logits once forward, and to read them and write their gradient backward.
///
/// # Errors
/// None of its own.
pub(crate) fn log_prob(logits: Logits, repeats: Repeats, listener: Listener<'_>) -> Result<Report> {
    let Logits { rows, vocab, seed } = logits;
    listener(Progress::Preparing);
    let mut stream = Stream::new(seed);
    // A few thousand numbers over and over, of which no row begins where another does.
    let drawn: Vec<f32> = (0..4093).map(|_| stream.normal() as f32).collect();
    let logits: Vec<f32> = drawn.iter().copied().cycle().take(rows * vocab).collect();
    let targets: Vec<u32> = (0..rows).map(|_| stream.below(vocab) as u32).collect();
    let slopes: Vec<f32> = (0..rows).map(|_| stream.normal() as f32).collect();
    let entropy_slopes = vec![0.01; rows];
    let mut gradient = vec![0.0; rows * vocab];
    let mut found = Vec::new();
    let laps = repeats.run(&["forward", "backward"], listener, |_, watch| {
        watch.skip();
        let scored = rayon::scope(|_| forward(&logits, &targets, 1.0, vocab));
        watch.phase();
        rayon::scope(|_| backward(&logits, &targets, 1.0, &scored, (&slopes, &entropy_slopes), &mut gradient));
        watch.phase();
        found.clear();
        found.extend(scored.log_prob.iter().chain(&gradient[..vocab]).flat_map(|value| value.to_le_bytes()));
        Ok(())
    })?;
    let bytes = (rows * vocab * size_of::<f32>()) as f64;
    let settings = [("rows", json!(rows)), ("vocab", json!(vocab)), ("seed", json!(seed))];
    let measured = Measured {
        bench: "logprob",
        title: format!("log-probability and entropy of {rows} tokens over a vocabulary of {vocab}, and their gradient"),
        settings: settings.map(|(key, value)| (key.to_owned(), value)).into_iter().collect::<Map<_, _>>(),
        tokens: rows,
        counted: "scored",
        work: Work::Memory { read: bytes, copied: 2.0 * bytes, threads: Threads::All },
        digest: sha256_hex(&found),
    };
    Report::beside_the_roof(measured, Place::Cpu, laps, listener)
}
