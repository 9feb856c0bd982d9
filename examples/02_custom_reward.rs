//! A reward of one's own: a closure over the trajectory, alone or as part of a sum.
//!
//! ```console
//! $ cargo run --release --example 02_custom_reward
//! ```
#![allow(clippy::print_stdout, reason = "showing something is what it is for")]

use std::sync::mpsc;

use stateset_agents::prelude::*;

/// The share of replies that stay within eight words.
fn brevity(episode: &Trajectory) -> f32 {
    let replies: Vec<&Message> = episode.messages.iter().filter(|message| message.role == Role::Assistant).collect();
    let brief = replies.iter().filter(|reply| reply.content.split_whitespace().count() <= 8).count();
    brief as f32 / replies.len().max(1) as f32
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut config = Config::from_file("config/quickstart.yaml")?;
    config.run.output_dir = folder.path().into();
    config.training.steps = 2;
    config.evaluation.episodes = 6;

    // Do it right, first of all; be brief too.
    let reward = Composite::new().with("right", 0.8, EpisodeReward::default()).with("brief", 0.2, FnReward(brevity));

    let (heard, evaluations) = mpsc::channel();
    let runtime = Runtime::builder().config(config).reward(reward.clone()).on_update(move |update| {
        if let Update::Evaluated(evaluation) = update {
            let _ = heard.send(evaluation.samples.clone());
        }
    });
    let result = runtime.build()?.run().await?;
    println!("{} episodes to learn from\n", result.summary.episodes_completed);
    println!(" total  right  brief  last words");

    // A reward is a function of what happened, so it can be asked again: here about some of the evaluated episodes.
    for episode in evaluations.iter().flatten() {
        let Score { total, parts, .. } = reward.score(&episode)?;
        let part = |name| parts.iter().find(|(part, _)| part == name).map_or(0.0, |(_, value)| *value);
        let last = episode.messages.last().map_or("", |message| &message.content);
        println!("{total:6.2} {:6.2} {:6.2}  {last}", part("right"), part("brief"));
        assert_eq!(episode.reward, Some(total), "the run scored it the same way");
    }
    Ok(())
}
