//! A crash is an event, not the end: judge and learner panic in the middle of a run, and the result is the same to the bit.
//!
//! ```console
//! $ cargo run --release --example 05_survive_a_crash
//! ```
#![allow(clippy::print_stdout, reason = "showing something is what it is for")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stateset_agents::prelude::*;

/// Looks in before every message. Panics at the judge's 30th and at the learner's 60th.
#[derive(Default)]
struct Saboteur {
    judge: AtomicU64,
    learner: AtomicU64,
}

impl Probe for Saboteur {
    fn visit(&self, site: Site) -> Visit {
        match site {
            Site::Judge => assert!(self.judge.fetch_add(1, Ordering::Relaxed) + 1 != 30, "the judge has had enough"),
            Site::Learner => {
                assert!(self.learner.fetch_add(1, Ordering::Relaxed) + 1 != 60, "the learner forgets it all")
            }
            Site::Environment | Site::Conversation | Site::Inference | Site::Checkpointer | Site::HealthMonitor => {}
        }
        Visit::Pass
    }
}

async fn train(probe: Option<Saboteur>) -> anyhow::Result<(RunResult, Vec<Event>)> {
    let folder = tempfile::tempdir()?;
    let mut config = Config::from_file("config/smoke.yaml")?;
    config.run.output_dir = folder.path().into();
    config.training.steps = 4;
    let events = Arc::new(Memory::default());
    let mut runtime = Runtime::builder().config(config).events(events.clone());
    if let Some(probe) = probe {
        runtime = runtime.probe(Arc::new(probe));
    }
    Ok((runtime.build()?.run().await?, events.events()))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // What a panic has to say is in the events; once is enough.
    std::panic::set_hook(Box::new(|_| {}));
    let (calm, _) = train(None).await?;
    let (shaken, events) = train(Some(Saboteur::default())).await?;

    for event in &events {
        match event {
            Event::ChildExited { child, cause, .. } if cause.is_abnormal() => println!("{child} ended: {cause:?}"),
            Event::RestartScheduled { child, delay_seconds, .. } => {
                println!("{child} restarts in {delay_seconds:.3} s")
            }
            Event::EpisodeRetried { episode, failure, .. } => println!("{episode} is tried again: {failure}"),
            Event::Restored { step, cause } => println!("back to step {step}: {cause}"),
            _ => {}
        }
    }
    println!("undisturbed  {}\nsabotaged    {}", calm.summary.policy_digest, shaken.summary.policy_digest);
    assert_eq!(shaken.summary.restarts, 2);
    assert_eq!((shaken.summary.episodes_lost, shaken.summary.episodes_duplicated), (0, 0));
    assert_eq!(calm.summary.policy_digest, shaken.summary.policy_digest, "nobody can tell from the weights");
    Ok(())
}
