//! Advantages beside TRL's and verl's, of answers and of tokens; and PPO's policy loss.
//!
//! | Theirs                                                  | Ours                                  |
//! |---------------------------------------------------------|---------------------------------------|
//! | TRL's `scale_rewards: group`, `batch`, `none`           | `group_std`, `batch_std`, `centred`   |
//! | TRL's and verl's RLOO                                   | `leave_one_out`                       |
//! | verl's REINFORCE++, with and without a baseline         | `reinforce_pp_baseline`, `reinforce_pp` |
//! | GAE of verl's, and of TRL's PPO                         | [`Gae`]                               |
//!
//! Where we differ: a group whose rewards are all equal has advantages of exactly 0, TRL's are what rounding leaves. TRL's PPO counts the
//! token after a response as one of it, which bears the score; here that token is sampled.

use serde::Deserialize;
use stateset_algorithms::advantage::Gae;
use stateset_algorithms::{Advantage, Answer, Grpo};

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
struct Discount {
    gamma: f64,
    lam: f64,
}

impl Discount {
    fn ours(self) -> Gae {
        Gae { gamma: self.gamma, lambda: self.lam }
    }
}

#[derive(Debug, Deserialize)]
struct Valued {
    batch: String,
    settings: Discount,
    rewards: Rows,
    values: Rows,
    returns: Rows,
}

#[test]
fn credit_by_token_is_verls_across_what_others_say() {
    let batches = policy_batches();
    for Valued { batch, settings, rewards, values, returns } in cases("verl_values") {
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
    settings: Discount,
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
            Row { reference: new.clone(), sampler: old.clone(), new, old, mask, advantages }.blind()
        };
        let rows: Vec<Row> = (0..case.new.len()).map(row).collect();
        let found = evaluate(&Grpo::default(), &rows, None, 1);
        assert_same(&found, case.policy_loss, &case.policy_slopes, EXACT, &case.name);
    }
}
