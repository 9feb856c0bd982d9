//! Fixtures as they are written, and the one place where our losses are evaluated.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use stateset_algorithms::{Grpo, Sequence, Slopes};

/// What float64 leaves of two ways of writing the same sum.
pub(crate) const EXACT: f64 = 1e-12;

/// Arrays of one entry per token.
pub(crate) type Rows = Vec<Vec<f64>>;

/// One sequence as all libraries were given it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Row {
    pub(crate) new: Vec<f64>,
    pub(crate) old: Vec<f64>,
    pub(crate) reference: Vec<f64>,
    pub(crate) sampler: Vec<f64>,
    pub(crate) mask: Vec<bool>,
    pub(crate) advantages: Vec<f64>,
    #[serde(default)]
    pub(crate) entropy: Vec<f64>,
}

impl Row {
    /// Leaves nothing to be read of tokens that were not sampled.
    pub(crate) fn blind(mut self) -> Self {
        for array in [&mut self.new, &mut self.old, &mut self.reference, &mut self.entropy] {
            array.iter_mut().zip(&self.mask).filter(|(_, sampled)| !**sampled).for_each(|(it, _)| *it = f64::NAN);
        }
        self
    }

    /// The entries of an array that belong to sampled tokens.
    pub(crate) fn sampled<'a, T: Copy>(&'a self, array: &'a [T]) -> impl Iterator<Item = T> + 'a {
        array.iter().zip(&self.mask).filter(|(_, sampled)| **sampled).map(|(it, _)| *it)
    }

    pub(crate) fn view<'a>(&'a self, weights: Option<&'a [f64]>) -> Sequence<'a> {
        let Self { new, old, reference, mask, advantages, .. } = self;
        let entropies = (!self.entropy.is_empty()).then_some(self.entropy.as_slice());
        Sequence { new, old, reference: Some(reference), mask, advantages, weights, entropies }
    }
}

#[derive(Deserialize)]
struct Batches {
    batches: BTreeMap<String, Vec<Row>>,
}

#[derive(Deserialize)]
struct Cases<T> {
    cases: Vec<T>,
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/parity/fixtures/{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The cases of a fixture. There are some.
pub(crate) fn cases<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let Cases { cases } = read(name);
    assert!(!cases.is_empty(), "{name} has cases");
    cases
}

/// The batches of a fixture, by name.
pub(crate) fn batches(name: &str) -> BTreeMap<String, Vec<Row>> {
    let Batches { batches } = read(name);
    batches.into_iter().map(|(name, rows)| (name, rows.into_iter().map(Row::blind).collect())).collect()
}

/// The batches that the policy losses of every library were given.
pub(crate) fn policy_batches() -> BTreeMap<String, Vec<Row>> {
    batches("trl_policy")
}

/// The loss of a whole batch that is evaluated in `micro_batches` parts, and its slopes by sequence.
pub(crate) fn evaluate(grpo: &Grpo, batch: &[Row], weights: Option<&Rows>, micro_batches: usize) -> (f64, Rows) {
    let (loss, slopes, _) = evaluate_all(grpo, batch, weights, micro_batches);
    (loss, slopes)
}

/// The same, with the slopes by entropy.
pub(crate) fn evaluate_all(
    grpo: &Grpo,
    batch: &[Row],
    weights: Option<&Rows>,
    micro_batches: usize,
) -> (f64, Rows, Rows) {
    let views: Vec<Sequence<'_>> =
        batch.iter().enumerate().map(|(i, row)| row.view(weights.map(|weights| weights[i].as_slice()))).collect();
    let normalizer = grpo.normalizer(views.iter().map(Sequence::sampled));
    let (mut loss, mut by_log_prob, mut by_entropy) = (0.0, Vec::new(), Vec::new());
    for part in views.chunks(batch.len() / micro_batches) {
        let mut found = Slopes::zeros(part.iter().map(|sequence| sequence.new.len()).sum());
        loss += grpo.evaluate(part, &normalizer, &mut found).loss;
        by_log_prob.extend(rows(part, &found.log_probs));
        by_entropy.extend(rows(part, &found.entropies));
    }
    (loss, by_log_prob, by_entropy)
}

fn rows(sequences: &[Sequence<'_>], flat: &[f64]) -> Rows {
    let mut flat = flat.iter().copied();
    sequences.iter().map(|sequence| flat.by_ref().take(sequence.new.len()).collect()).collect()
}

/// Holds a number to the library's.
pub(crate) fn assert_near(found: f64, expected: f64, tolerance: f64, of: &str) {
    let apart = (found - expected).abs() / expected.abs().max(1.0);
    assert!(apart <= tolerance, "{of}: ours is {found}, theirs {expected}");
}

/// Holds every entry to the library's.
pub(crate) fn assert_all_near(found: &[f64], expected: &[f64], tolerance: f64, of: &str) {
    assert_eq!(found.len(), expected.len(), "{of}");
    for (t, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_near(*found, *expected, tolerance, &format!("{of}, entry {t}"));
    }
}

/// Holds a loss and its slopes to the library's.
pub(crate) fn assert_same(found: &(f64, Rows), loss: f64, slopes: &Rows, tolerance: f64, of: &str) {
    assert_near(found.0, loss, tolerance, &format!("loss of {of}"));
    assert_eq!(found.1.len(), slopes.len(), "{of}");
    for (i, (found, expected)) in found.1.iter().zip(slopes).enumerate() {
        assert_all_near(found, expected, tolerance, &format!("slopes of {of}, sequence {i}"));
    }
}
