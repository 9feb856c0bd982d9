//! Policy losses beside TRL's.
//!
//! | TRL                                        | Ours                                                                 |
//! |--------------------------------------------|----------------------------------------------------------------------|
//! | `loss_type: grpo`, `sapo`; GMPO            | `aggregation: grpo`                                                  |
//! | `dapo`, `cispo`, `vespo`; `bnpo` unsplit   | `aggregation: dapo`                                                  |
//! | `dr_grpo`                                  | `aggregation: dr_grpo`                                               |
//! | `luspo`                                    | `aggregation: sequence_sum`                                          |
//! | `importance_sampling_level: token`         | `surrogate: clip`                                                    |
//! | `sequence`, `sequence_token`               | `surrogate: gspo`, `gspo_token`                                      |
//! | `epsilon`, `epsilon_high`, `delta`, `beta` | `clip_low`, `clip_high`, `dual_clip`, `kl_coef`                      |
//! | `epsilon_high` of `cispo`                  | `ratio_max`                                                          |
//! | vLLM's importance sampling correction      | [`Staleness`], for tokens that all are stale                         |
//!
//! Where we differ: log-ratios beyond 20 nats are cut off, here none are that far apart. RLOO's ratio is a token's, and TRL's the product of
//! an answer's; the slopes are the same in the first epoch, when all ratios are 1, and everything is if an answer is one token. VESPO's
//! weights of stale tokens multiply the loss; TRL has them in `w`.

use serde::Deserialize;
use stateset_algorithms::staleness::{Mode, Rule};
use stateset_algorithms::{Aggregation, Algorithm, Grpo, ImportanceSampling, Staleness, Surrogate};

use crate::fixture::{EXACT, Rows, assert_all_near, assert_same, cases, evaluate, evaluate_all, policy_batches};

/// The longest completion, wherever it counts.
const LONGEST: usize = 32;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    loss_type: Option<String>,
    importance_sampling_level: Option<String>,
    epsilon: Option<f64>,
    epsilon_high: Option<f64>,
    delta: Option<f64>,
    #[serde(default)]
    beta: f64,
    #[serde(default)]
    entropy_coef: f64,
    /// Whether KL is weighed by the ratio. Never, in what ours is compared with.
    #[serde(default)]
    use_bias_correction_kl: bool,
}

impl Settings {
    /// The same in our words.
    fn ours(&self) -> Grpo {
        assert!(!self.use_bias_correction_kl, "ours has the plain estimate of KL");
        let clip_low = self.epsilon.unwrap_or(0.2);
        let clip_high = self.epsilon_high.unwrap_or(clip_low);
        let loss_type = self.loss_type.as_deref().unwrap_or("gmpo");
        let surrogate = match (loss_type, self.importance_sampling_level.as_deref()) {
            ("gmpo", _) => Surrogate::Gmpo,
            ("cispo", _) => Surrogate::Cispo,
            ("sapo", _) => Surrogate::Sapo,
            ("vespo", _) => Surrogate::Vespo,
            (_, None) => Surrogate::Clip,
            (_, Some(_)) => Surrogate::Gspo,
        };
        let aggregation = match loss_type {
            "grpo" | "sapo" | "gmpo" => Aggregation::Grpo,
            "bnpo" | "dapo" | "cispo" | "vespo" => Aggregation::Dapo,
            "dr_grpo" => Aggregation::DrGrpo,
            "luspo" => Aggregation::SequenceSum,
            other => panic!("{other} is no loss type"),
        };
        Grpo {
            surrogate,
            aggregation,
            clip_low,
            clip_high,
            dual_clip: self.delta,
            ratio_max: self.epsilon_high.unwrap_or(5.0),
            kl_coef: self.beta,
            entropy_coef: self.entropy_coef,
            max_completion_tokens: LONGEST,
            ..Grpo::default()
        }
    }
}

#[derive(Debug, Deserialize)]
struct Case {
    batch: String,
    settings: Settings,
    #[serde(default = "one")]
    micro_batches: usize,
    loss: f64,
    slopes: Rows,
}

fn one() -> usize {
    1
}

#[test]
fn policy_losses_and_their_slopes_are_trls() {
    let batches = policy_batches();
    for Case { batch, settings, micro_batches, loss, slopes } in cases("trl_policy") {
        let found = evaluate(&settings.ours(), &batches[&batch], None, micro_batches);
        assert_same(&found, loss, &slopes, EXACT, &format!("{batch} with {settings:?} in {micro_batches}"));
    }
}

#[test]
fn gspo_token_is_trls() {
    let batches = policy_batches();
    for Case { batch, settings, loss, slopes, .. } in cases("trl_gspo_token") {
        let ours = Grpo { surrogate: Surrogate::GspoToken, ..settings.ours() };
        let found = evaluate(&ours, &batches[&batch], None, 1);
        assert_same(&found, loss, &slopes, EXACT, &format!("{batch} with {settings:?}"));
    }
}

#[test]
fn rloo_has_trls_slopes_in_the_first_epoch_and_its_loss_where_an_answer_is_one_token() {
    let batches = policy_batches();
    for Case { batch, settings, loss, slopes, .. } in cases("trl_rloo") {
        let ours = Grpo { clip_low: 0.2, clip_high: 0.2, ..Algorithm::Rloo.settings() };
        let found = evaluate(&ours, &batches[&batch], None, 1);
        // In the first epoch TRL's loss is the mean of -A, ours of -A times the answer's length.
        let lengths = || batches[&batch].iter().map(|row| row.mask.len() as f64);
        let by_length: f64 = batches[&batch].iter().map(|row| row.advantages[0] * (row.mask.len() as f64 - 1.0)).sum();
        let longer = if batch == "first_epoch" { -by_length / lengths().count() as f64 } else { 0.0 };
        assert_same(&found, loss + longer, &slopes, EXACT, &format!("{batch} with {settings:?}"));
    }
}

#[derive(Debug, Deserialize)]
struct Corrected {
    batch: String,
    mode: Mode,
    clip_min: Option<f64>,
    clip_max: f64,
    weights: Rows,
    loss: f64,
    slopes: Rows,
}

#[test]
fn stale_tokens_weigh_what_trls_importance_sampling_makes_them_weigh() {
    let batches = policy_batches();
    let grpo = Grpo { clip_high: 0.28, kl_coef: 0.04, ..Grpo::default() };
    for Corrected { batch, mode, clip_min, clip_max, weights, loss, slopes } in cases("trl_importance") {
        let importance = ImportanceSampling { mode, clip_max, clip_min: clip_min.unwrap_or(0.0) };
        let staleness = Staleness { rule: Rule::Truncate, importance };
        let of = format!("{batch} with {mode:?}, {clip_min:?} to {clip_max}");
        let rows = &batches[&batch];
        let mut ours = weights.clone();
        for (row, theirs) in rows.iter().zip(&mut ours) {
            let (old, sampler): (Vec<f64>, Vec<f64>) =
                (row.sampled(&row.old).collect(), row.sampled(&row.sampler).collect());
            let found = staleness.weights(&old, &sampler, &vec![1; old.len()]).unwrap();
            assert_all_near(&found, &row.sampled(theirs).collect::<Vec<_>>(), EXACT, &format!("weights of {of}"));
            let mut found = found.into_iter();
            theirs.iter_mut().zip(&row.mask).for_each(|(it, own)| *it = if *own { found.next().unwrap() } else { 0.0 });
        }
        assert_same(&evaluate(&grpo, rows, Some(&ours), 1), loss, &slopes, EXACT, &of);
    }
}

#[derive(Debug, Deserialize)]
struct WithBonus {
    batch: String,
    settings: Settings,
    loss: f64,
    slopes: Rows,
    entropy_slopes: Rows,
}

#[test]
fn a_bonus_for_entropy_is_trls() {
    let batches = policy_batches();
    for WithBonus { batch, settings, loss, slopes, entropy_slopes } in cases("trl_entropy") {
        let (found, by_log_prob, by_entropy) = evaluate_all(&settings.ours(), &batches[&batch], None, 1);
        assert_same(&(found, by_log_prob), loss, &slopes, EXACT, &batch);
        assert_all_near(&by_entropy.concat(), &entropy_slopes.concat(), EXACT, &batch);
    }
}
