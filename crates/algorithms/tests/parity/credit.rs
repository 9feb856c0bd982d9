//! Advantages beside TRL's and verl's, of answers and of tokens; PPO's policy loss, and its critic's.
//!
//! | Theirs                                                  | Ours                                  |
//! |---------------------------------------------------------|---------------------------------------|
//! | TRL's `scale_rewards: group`, `batch`, `none`           | `group_std`, `batch_std`, `centred`   |
//! | TRL's and verl's RLOO                                   | `leave_one_out`                       |
//! | verl's REINFORCE++, with and without a baseline         | `reinforce_pp_baseline`, `reinforce_pp` |
//! | GAE of verl's, and of TRL's PPO                         | [`Gae`], then [`whiten`]              |
//! | their critics' losses                                   | [`Valued`]                            |
//!
//! Where we differ: a group whose rewards are all equal has advantages of exactly 0, TRL's are what rounding leaves. TRL's PPO counts the
//! token after a response as one of it, which bears the score; here that token is sampled.

use serde::Deserialize;
use stateset_algorithms::advantage::{Gae, whiten};
use stateset_algorithms::{Advantage, Answer, Grpo, Valued};

use crate::fixture::{EXACT, Row, Rows, assert_all_near, assert_near, assert_same, cases, evaluate, policy_batches};

/// verl adds 1e-8 to the count of the tokens that it whitens over.
const WHITENED: f64 = 1e-8;

#[derive(Debug, Deserialize)]
struct OfTrl {
    trainer: String,
    scale_rewards: Option<String>,
    rewards: Rows,
    advantages: Rows,
}

#[test]
fn advantages_of_a_group_are_trls() {
    for OfTrl { trainer, scale_rewards, rewards, advantages } in cases("trl_advantages") {
        let ours = match (trainer.as_str(), scale_rewards.as_deref()) {
            ("grpo", Some("group")) => Advantage::GroupStd,
            ("grpo", Some("batch")) => Advantage::BatchStd,
            ("grpo", Some("none")) => Advantage::Centred,
            ("rloo", None) => Advantage::LeaveOneOut,
            other => panic!("{other:?} is no advantage"),
        };
        let answer = |reward: &f64| Answer { reward: *reward, tokens: 1 };
        let groups: Vec<Vec<Answer>> = rewards.iter().map(|group| group.iter().map(answer).collect()).collect();
        let found = ours.estimate(&groups).concat();
        assert_all_near(&found, &advantages.concat(), EXACT, &format!("{ours:?} of {rewards:?}"));
    }
}

#[derive(Debug, Deserialize)]
struct OfVerl {
    estimator: String,
    rewards: Rows,
    tokens: Vec<Vec<usize>>,
    /// By answer: what each of its tokens has.
    advantages: Vec<f64>,
    /// By answer: how far its tokens are apart.
    spread: Vec<f64>,
}

#[test]
fn advantages_of_answers_are_verls_whatever_is_said_in_between() {
    for OfVerl { estimator, rewards, tokens, advantages, spread } in cases("verl_advantages") {
        let ours = match estimator.as_str() {
            "rloo" => Advantage::LeaveOneOut,
            "reinforce_plus_plus" => Advantage::ReinforcePp,
            "reinforce_plus_plus_baseline" => Advantage::ReinforcePpBaseline,
            other => panic!("{other} is no estimator"),
        };
        let group = |(rewards, tokens): (&Vec<f64>, &Vec<usize>)| {
            rewards.iter().zip(tokens).map(|(reward, tokens)| Answer { reward: *reward, tokens: *tokens }).collect()
        };
        let groups: Vec<Vec<Answer>> = rewards.iter().zip(&tokens).map(group).collect();
        assert_all_near(&ours.estimate(&groups).concat(), &advantages, WHITENED, &format!("{ours:?} of {rewards:?}"));
        assert!(spread.iter().all(|apart| *apart < EXACT), "{estimator} is the same at all tokens: {spread:?}");
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Settings {
    gamma: f64,
    lam: f64,
    cliprange_value: f64,
}

impl Settings {
    fn ours(self) -> Gae {
        Gae { gamma: self.gamma, lambda: self.lam, steps: None }
    }
}

#[derive(Debug, Deserialize)]
struct OfVerlsCritic {
    batch: String,
    settings: Settings,
    rewards: Rows,
    values: Rows,
    returns: Rows,
    advantages: Rows,
    new_values: Rows,
    value_loss: f64,
    value_slopes: Rows,
}

#[test]
fn credit_by_token_is_verls_across_what_others_say() {
    let batches = policy_batches();
    for OfVerlsCritic { batch, settings, rewards, values, returns, .. } in cases("verl_values") {
        for (i, row) in batches[&batch].iter().enumerate() {
            let found = settings.ours().advantages(&rewards[i], &values[i], &row.mask);
            let found: Vec<f64> = found.iter().zip(&values[i]).map(|(advantage, value)| advantage + value).collect();
            let (found, expected): (Vec<f64>, Vec<f64>) =
                (row.sampled(&found).collect(), row.sampled(&returns[i]).collect());
            assert_all_near(&found, &expected, EXACT, &format!("returns of {batch}, sequence {i}"));
        }
    }
}

#[derive(Debug, Deserialize)]
struct Ppo {
    name: String,
    settings: Settings,
    own: Vec<Vec<bool>>,
    valued: Vec<Vec<bool>>,
    rewards: Rows,
    values: Rows,
    raw_advantages: Rows,
    returns: Rows,
    advantages: Rows,
    old: Rows,
    new: Rows,
    policy_loss: f64,
    policy_slopes: Rows,
    new_values: Rows,
    value_loss: f64,
    value_slopes: Rows,
}

#[test]
fn credit_by_token_is_that_of_trls_ppo() {
    for Ppo { name, settings, valued, rewards, values, raw_advantages, returns, .. } in cases("trl_ppo") {
        for i in 0..values.len() {
            let found = settings.ours().advantages(&rewards[i], &values[i], &valued[i]);
            assert_all_near(&found, &raw_advantages[i], EXACT, &format!("advantages of {name}, sequence {i}"));
            let learned = found.iter().zip(&values[i]).zip(&returns[i]);
            learned.for_each(|((a, v), expected)| assert_near(a + v, *expected, EXACT, &format!("returns of {name}")));
        }
    }
}

#[test]
fn ppos_policy_loss_and_its_slopes_are_trls() {
    for case in cases::<Ppo>("trl_ppo") {
        let row = |i: usize| {
            let (new, old, mask, advantages) =
                (case.new[i].clone(), case.old[i].clone(), case.own[i].clone(), case.advantages[i].clone());
            Row { reference: new.clone(), sampler: old.clone(), new, old, mask, advantages, entropy: Vec::new() }
                .blind()
        };
        let rows: Vec<Row> = (0..case.new.len()).map(row).collect();
        let found = evaluate(&Grpo::default(), &rows, None, 1);
        assert_same(&found, case.policy_loss, &case.policy_slopes, EXACT, &case.name);
    }
}

/// The entries of every row that belong to some tokens.
fn of_tokens(rows: &Rows, masks: &[&[bool]]) -> Rows {
    let row =
        |(row, mask): (&Vec<f64>, &&[bool])| row.iter().zip(*mask).filter(|(_, of)| **of).map(|(it, _)| *it).collect();
    rows.iter().zip(masks).map(row).collect()
}

#[test]
fn whitened_advantages_are_trls_and_verls() {
    for case in cases::<Ppo>("trl_ppo") {
        let masks: Vec<&[bool]> = case.own.iter().map(Vec::as_slice).collect();
        let mut found = of_tokens(&case.raw_advantages, &masks);
        whiten(&mut found);
        let expected = of_tokens(&case.advantages, &masks);
        assert_all_near(&found.concat(), &expected.concat(), EXACT, &case.name);
    }
    let batches = policy_batches();
    for case in cases::<OfVerlsCritic>("verl_values") {
        let masks: Vec<&[bool]> = batches[&case.batch].iter().map(|row| row.mask.as_slice()).collect();
        let gap = |(returns, values): (&Vec<f64>, &Vec<f64>)| returns.iter().zip(values).map(|(r, v)| r - v).collect();
        let raw: Rows = case.returns.iter().zip(&case.values).map(gap).collect();
        let mut found = of_tokens(&raw, &masks);
        whiten(&mut found);
        assert_all_near(&found.concat(), &of_tokens(&case.advantages, &masks).concat(), WHITENED, &case.batch);
    }
}

/// The mean loss of all values, and its slopes.
fn value_loss(new: &Rows, old: &Rows, returns: &Rows, masks: &[&[bool]], clip: f64) -> (f64, Rows) {
    let count = masks.iter().copied().flatten().filter(|of| **of).count() as f64;
    let (mut loss, mut slopes) = (0.0, Vec::new());
    for i in 0..new.len() {
        let mut own = vec![f64::NAN; new[i].len()];
        let valued = Valued { new: &new[i], old: &old[i], returns: &returns[i], mask: masks[i] };
        loss += valued.evaluate(Some(clip), 1.0 / count, &mut own).loss;
        slopes.push(own);
    }
    (loss, slopes)
}

#[test]
fn the_critics_loss_and_its_slopes_are_trls_and_verls() {
    for case in cases::<Ppo>("trl_ppo") {
        let masks: Vec<&[bool]> = case.valued.iter().map(Vec::as_slice).collect();
        let found = value_loss(&case.new_values, &case.values, &case.returns, &masks, case.settings.cliprange_value);
        assert_same(&found, case.value_loss, &case.value_slopes, EXACT, &case.name);
    }
    let batches = policy_batches();
    for case in cases::<OfVerlsCritic>("verl_values") {
        let masks: Vec<&[bool]> = batches[&case.batch].iter().map(|row| row.mask.as_slice()).collect();
        let found = value_loss(&case.new_values, &case.values, &case.returns, &masks, case.settings.cliprange_value);
        assert_same(&found, case.value_loss, &case.value_slopes, EXACT, &case.batch);
    }
}
