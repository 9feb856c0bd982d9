//! Preferences beside TRL's `DPOTrainer`, whose loss types have the names that ours have; but `discopop`, which is `disco_pop`.
//!
//! Where we differ: `sigmoid` is smoothed only in ours, so it is compared unsmoothed; and DiscoPOP's exponential is cut off beyond 80, from
//! which all pairs here are far.

use serde::Deserialize;
use stateset_algorithms::{Dpo, Preference};

use crate::fixture::{EXACT, Row, Rows, assert_same, batches, cases};

#[derive(Debug, Deserialize)]
struct Settings {
    loss_type: String,
    beta: f64,
    label_smoothing: f64,
}

#[derive(Debug, Deserialize)]
struct Case {
    batch: String,
    settings: Settings,
    loss: f64,
    slopes: Rows,
}

/// The loss of a batch of chosen answers and as many rejected ones, each pair counting once, and its slopes in that order.
fn evaluate(dpo: &Dpo, batch: &[Row]) -> (f64, Rows) {
    let (chosen, rejected) = batch.split_at(batch.len() / 2);
    let (mut loss, mut slopes) = (0.0, vec![Vec::new(); batch.len()]);
    for (i, (chosen, rejected)) in chosen.iter().zip(rejected).enumerate() {
        let mut found = vec![f64::NAN; chosen.mask.len() + rejected.mask.len()];
        loss += dpo.evaluate_pairs(&[chosen.view(None), rejected.view(None)], batch.len() / 2, &mut found).loss;
        slopes[batch.len() / 2 + i] = found.split_off(chosen.mask.len());
        slopes[i] = found;
    }
    (loss, slopes)
}

#[test]
fn preference_losses_and_their_slopes_are_trls() {
    let batches = batches("trl_preference");
    for Case { batch, settings, loss, slopes } in cases("trl_preference") {
        let Settings { loss_type, beta, label_smoothing } = settings;
        let name = if loss_type == "discopop" { "disco_pop" } else { &loss_type };
        let loss_of_pair: Preference = serde_json::from_value(name.into()).unwrap();
        let counted = |row: &Row| Row { advantages: vec![1.0; row.mask.len()], ..row.clone() };
        let pairs: Vec<Row> = batches[&batch].iter().map(counted).collect();
        let dpo = Dpo { loss: loss_of_pair, beta, label_smoothing, ..Dpo::default() };
        assert_same(&evaluate(&dpo, &pairs), loss, &slopes, EXACT, &format!("{batch} with {dpo:?}"));
    }
}
