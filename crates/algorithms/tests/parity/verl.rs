//! Policy losses and KL estimates beside verl's.
//!
//! | verl                                              | Ours                                                                |
//! |---------------------------------------------------|---------------------------------------------------------------------|
//! | `token-mean`                                      | `aggregation: dapo`                                                 |
//! | `seq-mean-token-mean`                             | `aggregation: grpo`                                                 |
//! | `seq-mean-token-sum`                              | `aggregation: sequence_sum`                                         |
//! | `seq-mean-token-sum-norm`                         | `aggregation: dr_grpo`, its scale being the longest completion      |
//! | `vanilla`, `clip_ratio_c`                         | `surrogate: clip`, `dual_clip`                                      |
//! | `gspo`                                            | `surrogate: gspo_token`                                             |
//! | `cispo`                                           | `surrogate: cispo_range`                                            |
//! | `geo_mean`, `gpg`, `sapo`                         | `surrogate: gmpo`, `reinforce`, `sapo`                              |
//! | `dppo_tv`                                         | `surrogate: dppo`, but for its pull                                 |
//!
//! Where we differ: an empty sequence counts among the others, in verl it does not; there is none here. What verl divides by has `1e-8`
//! added in means over a sequence. DPPO's loss is `-r A` in ours and `-sg(r) A log p` in verl's, of which the slopes are the same, and ours
//! is pulled towards the policy that sampled, as in prime-rl.

use serde::Deserialize;
use stateset_algorithms::{Aggregation, Grpo, KlEstimator, Surrogate};

use crate::fixture::{EXACT, Row, Rows, assert_all_near, assert_same, cases, evaluate, policy_batches};

/// Verl adds 1e-8 to a sequence's length, and so do its slopes and means differ.
const NEARLY: f64 = 3e-8;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    clip_ratio_low: f64,
    clip_ratio_high: f64,
    clip_ratio_c: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { clip_ratio_low: 0.2, clip_ratio_high: 0.2, clip_ratio_c: 3.0 }
    }
}

#[derive(Debug, Deserialize)]
struct Case {
    batch: String,
    loss_mode: String,
    aggregation: String,
    settings: Settings,
    loss: f64,
    slopes: Rows,
}

impl Case {
    /// The same in our words.
    fn ours(&self) -> Grpo {
        let surrogate = match self.loss_mode.as_str() {
            "vanilla" => Surrogate::Clip,
            "gspo" => Surrogate::GspoToken,
            "cispo" => Surrogate::CispoRange,
            "sapo" => Surrogate::Sapo,
            "geo_mean" => Surrogate::Gmpo,
            "gpg" => Surrogate::Reinforce,
            "dppo_tv" => Surrogate::Dppo,
            other => panic!("{other} is no loss mode"),
        };
        let aggregation = match self.aggregation.as_str() {
            "token-mean" => Aggregation::Dapo,
            "seq-mean-token-mean" => Aggregation::Grpo,
            "seq-mean-token-sum" => Aggregation::SequenceSum,
            "seq-mean-token-sum-norm" => Aggregation::DrGrpo,
            other => panic!("{other} is no aggregation"),
        };
        Grpo {
            surrogate,
            aggregation,
            clip_low: self.settings.clip_ratio_low,
            clip_high: self.settings.clip_ratio_high,
            dual_clip: (surrogate == Surrogate::Clip).then_some(self.settings.clip_ratio_c),
            max_completion_tokens: 32,
            ..Grpo::default()
        }
    }

    fn tolerance(&self) -> f64 {
        if self.aggregation == "seq-mean-token-mean" { NEARLY } else { EXACT }
    }
}

#[test]
fn policy_losses_and_their_slopes_are_verls() {
    let batches = policy_batches();
    for case in cases::<Case>("verl_policy").iter().filter(|case| case.loss_mode != "dppo_tv") {
        let found = evaluate(&case.ours(), &batches[&case.batch], None, 1);
        let of = format!("{} with {}, {}, {:?}", case.batch, case.loss_mode, case.aggregation, case.settings);
        assert_same(&found, case.loss, &case.slopes, case.tolerance(), &of);
    }
}

#[test]
fn dppo_keeps_the_tokens_that_verl_keeps_and_pushes_them_as_far() {
    let batches = policy_batches();
    for case in cases::<Case>("verl_policy").iter().filter(|case| case.loss_mode == "dppo_tv") {
        let batch = &batches[&case.batch];
        let pulled: usize = batch.iter().map(|row| row.sampled(&row.new).count()).sum();
        let (_, slopes) = evaluate(&case.ours(), batch, None, 1);
        for ((row, found), expected) in batch.iter().zip(slopes).zip(&case.slopes) {
            // 1e-3 (log r)^2 of each token, in the mean over tokens.
            let pull = |t: usize| if row.mask[t] { 2e-3 * (row.new[t] - row.old[t]) / pulled as f64 } else { 0.0 };
            let pushed: Vec<f64> = found.iter().enumerate().map(|(t, slope)| slope - pull(t)).collect();
            assert_all_near(&pushed, expected, EXACT, &format!("{} with dppo_tv", case.batch));
        }
    }
}

#[derive(Debug, Deserialize)]
struct Divergence {
    batch: String,
    estimator: KlEstimator,
    loss: f64,
    slopes: Rows,
}

#[test]
fn estimates_of_kl_and_their_slopes_are_verls() {
    let batches = policy_batches();
    for Divergence { batch, estimator, loss, slopes } in cases("verl_kl") {
        let unrewarded = |row: &Row| Row { advantages: vec![0.0; row.mask.len()], ..row.clone() };
        let rows: Vec<Row> = batches[&batch].iter().map(unrewarded).collect();
        let grpo = Grpo { kl: estimator, kl_coef: 1.0, ..Grpo::default() };
        assert_same(&evaluate(&grpo, &rows, None, 1), loss, &slopes, EXACT, &format!("{batch} with {estimator:?}"));
    }
}
