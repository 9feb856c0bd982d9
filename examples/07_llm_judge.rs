//! A model as a judge: checks say whether an episode was right, a model says how it sounded. When its server goes away, the run waits.
//!
//! The server is started here, on loopback, and stands in for a real one: it likes short replies. A real one is an address and a key.
//!
//! ```console
//! $ cargo run --release --example 07_llm_judge
//! ```
#![allow(clippy::print_stdout, reason = "showing something is what it is for")]

use std::sync::Arc;
use std::time::Duration;

use stateset_agents::config::{Breaker, Judge};
use stateset_agents::prelude::*;
use stateset_testkit::ChatServer;
use tokio::sync::mpsc;

/// What the stand-in thinks of a conversation: the fewer words the assistant needs, the better, from 10 down to 0.
fn opinion(messages: &[Message]) -> String {
    let replies = messages[1].content.lines().filter(|line| line.contains("\"speaker\":\"assistant\""));
    let (count, words) = replies.fold((0, 0), |(count, words), reply| (count + 1, words + reply.split(' ').count()));
    let brief = 10 - (words / count.max(1)).min(10);
    format!("{{\"scores\": {{\"brief\": {brief}}}, \"reason\": \"about {} words a reply\"}}", words / count.max(1))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut server = ChatServer::start(opinion).await;
    let folder = tempfile::tempdir()?;
    let mut config = Config::from_file("config/quickstart.yaml")?;
    config.run.output_dir = folder.path().into();
    config.training.steps = 4;
    config.evaluation.episodes = 16;
    let description = "Are the assistant's replies as short as they can be?".into();
    config.rewards.judge = Some(Judge {
        endpoint: server.endpoint(),
        model: "stand-in".into(),
        criteria: vec![Criterion { name: "brief".into(), weight: 1.0, description }],
        weight: 0.25,
        // Short, for the show. The defaults suit a server that needs minutes to come back.
        breaker: Breaker { open: Duration::from_millis(200), open_max: Duration::from_secs(1), ..Breaker::default() },
        ..Judge::default()
    });

    let (stepped, mut steps) = mpsc::unbounded_channel();
    let events = Arc::new(Memory::default());
    let runtime = Runtime::builder().config(config).events(events.clone()).on_update(move |update| {
        if let Update::Step(metrics) = update {
            println!("step {}: mean reward {:.3}", metrics.step, metrics.reward_mean);
            let _ = stepped.send(metrics.step);
        }
    });
    let run = tokio::spawn(runtime.build()?.run());

    while steps.recv().await != Some(2) {}
    println!("the judge's server stops");
    server.stop().await;
    let noticed = |event: &Event| matches!(event, Event::BreakerChanged { .. });
    while !events.events().iter().any(noticed) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("the judge's server is back");
    server.restart().await;

    let result = run.await??;
    for event in events.events() {
        if let Event::BreakerChanged { dependency, from, to, reason, .. } = event {
            println!("{dependency}: {from} -> {to}, {reason}");
        }
    }
    let summary = result.summary;
    println!("{} episodes judged, {} failed", summary.episodes_completed, summary.episodes_failed);
    assert_eq!((summary.steps, summary.episodes_failed, summary.episodes_lost), (4, 0, 0));
    Ok(())
}
