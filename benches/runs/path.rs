//! B11: an episode's whole way through the ring, with a policy that costs nothing.

use std::path::Path;
use std::time::Instant;

use stateset_agents::prelude::*;
use stateset_domain::{Message as Said, Role};
use stateset_testkit::{MeanTurnReward, ScriptedEngine};

use crate::scripted;

/// A user who says `bytes` characters, once, and is content with any answer.
struct Talkative {
    bytes: usize,
}

impl Environment for Talkative {
    fn scenario(&self, split: Split, index: u64) -> Scenario {
        Scenario {
            id: format!("{split:?}/{index}"),
            split,
            system: None,
            script: Vec::new(),
            details: Default::default(),
        }
    }

    fn start(&self, _: &Scenario, _: Stream) -> Result<Start, EnvironmentError> {
        let opening = vec![Said::new(Role::User, "x".repeat(self.bytes))];
        Ok(Start { opening, session: Box::new(Content) })
    }
}

struct Content;

impl Session for Content {
    fn step(&mut self, _: &Action) -> Result<Step, EnvironmentError> {
        Ok(Step { observation: Vec::new(), reward: Some(1.0), done: Some(true) })
    }
}

/// Episodes a second: `steps` steps of 16 groups of 8, each one turn with `bytes` characters (a token each).
pub(crate) async fn episodes_per_second(folder: &Path, steps: u64, bytes: usize) -> f64 {
    let mut config = Config::default();
    config.run.output_dir = folder.to_owned();
    config.run.name = format!("path-{bytes}");
    config.agent.max_context = bytes + 64;
    config.agent.sampling.max_tokens = 8;
    config.training.steps = steps;
    config.training.save_every = steps;
    config.evaluation.episodes = 0;
    let runtime = Runtime::builder()
        .config(config)
        .backends(scripted::backends(|| ScriptedEngine::new(|_, _| "yes".into())))
        .environment(Talkative { bytes })
        .reward(MeanTurnReward)
        .build()
        .unwrap();
    let began = Instant::now();
    let result = runtime.run().await.unwrap();
    let episodes = result.summary.episodes_completed;
    assert_eq!(episodes, steps * 128);
    episodes as f64 / began.elapsed().as_secs_f64()
}
