//! A world of one's own: a customer who wants one thing, does not say which, and loses patience.
//!
//! An environment hands out scenarios and answers replies; it does nothing else, so it needs no async, no model and no locks.
//!
//! ```console
//! $ cargo run --release --example 03_custom_environment
//! ```
#![allow(clippy::print_stdout, reason = "showing something is what it is for")]

use stateset_agents::prelude::*;

/// A shop whose customers got something broken, and would all like another one.
struct BrokenThings;

/// One customer, refusing what is offered until it is right: the first offer is worth 1, the second 1/2, the third 1/3.
struct Customer {
    offers: u8,
}

const PATIENCE: u8 = 3;

impl Environment for BrokenThings {
    fn scenario(&self, split: Split, index: u64) -> Scenario {
        // The halves draw from streams of their own, so that no reference is likely to be in both.
        let mut stream = Stream::new(7).fork(split as u64).fork(index);
        let account: String =
            (0..5).map(|_| *stream.choose(&['A', 'C', 'D', 'E', 'F', '2', '3', '4', '6', '7'])).collect();
        let details = account.clone().into();
        Scenario { id: format!("broken/{account}"), split, system: None, script: Vec::new(), details }
    }

    fn start(&self, scenario: &Scenario, _stream: Stream) -> Result<Start, EnvironmentError> {
        let account = scenario.details.as_str().ok_or_else(|| EnvironmentError("no account".into()))?;
        let user = Message::new(Role::User, format!("hi, my account is {account}. it arrived damaged."));
        Ok(Start { opening: vec![user], session: Box::new(Customer { offers: 0 }) })
    }
}

impl Session for Customer {
    fn step(&mut self, action: &Action) -> Result<Step, EnvironmentError> {
        self.offers += 1;
        let happy = action.text.contains("[replace]");
        let over = happy || self.offers == PATIENCE;
        let reward = if happy { 1.0 / f32::from(self.offers) } else { 0.0 };
        let complaint = if action.text.contains("[refund]") { "no refund" } else { "no voucher" };
        let answer = Message::new(Role::User, format!("it arrived damaged. {complaint} please."));
        Ok(Step {
            observation: if over { Vec::new() } else { vec![answer] },
            reward: over.then_some(reward),
            done: over.then_some(happy),
        })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut config = Config::default();
    config.run.output_dir = folder.path().into();
    config.training.steps = 10;
    config.training.group_size = 16;
    config.evaluation.episodes = 64;
    // How soon the customer is happy is all that counts, and that is what `Customer` says of its last turn.
    config.rewards.success_weight = 0.0;
    config.rewards.turn_weight = 1.0;

    let runtime = Runtime::builder().config(config).environment(BrokenThings).on_update(|update| match update {
        Update::Step(step) => println!("step {:>2}  reward {:.3}", step.step, step.reward_mean),
        Update::Evaluated(_) | Update::Restored(_) => {}
    });
    let summary = runtime.build()?.run().await?.summary;
    let (Some(before), Some(after)) = (summary.base, summary.trained) else { anyhow::bail!("nothing was evaluated") };

    println!("held-out customers: reward {:.3} before, {:.3} after", before.reward_mean, after.reward_mean);
    assert!(after.reward_mean > before.reward_mean + 0.1, "the policy learns what customers want");
    Ok(())
}
