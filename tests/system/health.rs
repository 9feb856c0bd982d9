//! Training that is made to fail, with health rules and without.
//!
//! Each failure is planted in the learner or in the reward of a real run of the built-in policy. The short ones run with every change;
//! `just health` runs all of them, and ten healthy runs beside them, and prints what `docs/health.md` says.

#![allow(clippy::print_stdout, reason = "the numbers are the point")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use stateset_agents::config::Config;
use stateset_agents::{Backends, Kinds, RunFiles, RunResult, Runtime, model};
use stateset_chat::ChatFormat;
use stateset_domain::{
    Adjustments, Artifact, Engine, EngineError, Group, Learner, LearnerError, PolicySnapshot, Ruling, StepReport,
    Trajectory,
};
use stateset_inference::{BatchEngine, EngineLimits};
use stateset_rewards::FnReward;
use stateset_telemetry::{Event, JsonLines};
use stateset_training::{LearnerSettings, Objective, OptimizerSettings, PolicyLearner};

use crate::lab::{Lab, small};

/// What goes wrong in a learner, from a step on.
#[derive(Clone, Copy, PartialEq)]
enum Plant {
    /// Nothing.
    Nothing,
    /// The gradient of the step is not a number, and is not noticed: it ends up in the weights. Once.
    NanGradient(u64),
    /// Its learning rate is a hundred times what it should be.
    LearningRate(u64),
}

/// A learner in which something goes wrong.
struct Planted {
    inner: PolicyLearner,
    plant: Plant,
    steps: u64,
    done: Arc<AtomicBool>,
    adjustments: Adjustments,
}

impl Planted {
    /// The last value of the weights becomes NaN.
    fn poison(&mut self) -> Result<(), LearnerError> {
        let mut files = self.inner.save()?;
        for file in files.iter_mut().filter(|file| file.name == "model.safetensors") {
            let end = file.bytes.len();
            file.bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        }
        self.inner.restore(&files)
    }
}

impl Learner for Planted {
    fn step(&mut self, groups: &[Group]) -> Result<StepReport, LearnerError> {
        self.steps += 1;
        if let Plant::LearningRate(from) = self.plant
            && self.steps >= from
        {
            let lr_scale = 100.0 * self.adjustments.lr_scale;
            self.inner.adjust(&Adjustments { lr_scale, ..self.adjustments });
        }
        let report = self.inner.step(groups)?;
        if let Plant::NanGradient(at) = self.plant
            && self.steps == at
            && !self.done.swap(true, Relaxed)
        {
            self.poison()?;
        }
        Ok(report)
    }

    fn undo(&mut self) -> Result<(), LearnerError> {
        self.inner.undo()
    }

    fn adjust(&mut self, adjustments: &Adjustments) {
        self.adjustments = *adjustments;
        self.inner.adjust(adjustments);
    }

    fn snapshot(&self) -> Result<PolicySnapshot, LearnerError> {
        self.inner.snapshot()
    }

    fn save(&self) -> Result<Vec<Artifact>, LearnerError> {
        self.inner.save()
    }

    fn restore(&mut self, artifacts: &[Artifact]) -> Result<(), LearnerError> {
        self.inner.restore(artifacts)?;
        self.steps = self.inner.snapshot()?.version().0;
        Ok(())
    }
}

fn backends(config: &Config, plant: Plant) -> Backends {
    let base = model::load(model::BUILTIN).unwrap();
    let tokenizer: Arc<dyn stateset_domain::Tokenizer> = Arc::new(base.tokenizer.clone());
    let (shape, texts) = (base.weights.config.clone(), tokenizer.clone());
    let limits = EngineLimits { slots: 64, positions: config.agent.max_context, step_tokens: 1024 };
    let engine = move || -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(BatchEngine::new(&shape, texts.clone(), limits)))
    };
    let training = &config.training;
    let settings = LearnerSettings {
        objective: Objective::Grpo(training.grpo.clone()),
        total_steps: training.steps,
        learning_rate: training.learning_rate,
        schedule: training.schedule,
        optimizer: OptimizerSettings { betas: training.betas.into(), ..OptimizerSettings::default() },
        staleness: stateset_algorithms::Staleness {
            rule: training.staleness,
            importance: training.importance_sampling.clone(),
        },
        temperature: config.agent.sampling.temperature,
        micro_batch_tokens: training.micro_batch_tokens,
        activation_checkpointing: training.activation_checkpointing,
        adapter: None,
        undoable: true,
    };
    let done = Arc::new(AtomicBool::new(false));
    let learner = move || -> Result<Box<dyn Learner>, LearnerError> {
        let inner = PolicyLearner::new(base.clone(), settings.clone())?;
        let (done, adjustments) = (done.clone(), Adjustments::default());
        Ok(Box::new(Planted { inner, plant, steps: 0, done, adjustments }))
    };
    let format = ChatFormat::new(tokenizer).unwrap();
    Backends { format, engine: Arc::new(engine), learner: Arc::new(learner) }
}

/// How a run ended, and what was decided on the way.
struct Ended {
    success: f64,
    reason: String,
    rulings: Vec<Ruling>,
    _lab: Lab,
}

impl Ended {
    /// A run that gave up has no policy to speak of.
    fn of(lab: Lab, files: &RunFiles, outcome: anyhow::Result<RunResult>) -> Self {
        let events = JsonLines::read(&files.events()).unwrap();
        let ruling = |event| if let Event::Ruled(ruling) = event { Some(ruling) } else { None };
        let rulings = events.into_iter().filter_map(|timed| ruling(timed.event)).collect();
        let (success, reason) = match outcome {
            Ok(result) => (result.summary.trained.map_or(0.0, |trained| trained.success_rate), result.summary.reason),
            Err(error) => (0.0, error.to_string()),
        };
        Self { success, reason, rulings, _lab: lab }
    }

    /// The first step at which `rule` did something.
    fn acted(&self, rule: &str) -> Option<u64> {
        self.rulings.iter().find(|ruling| ruling.rule == rule && ruling.acts()).map(|ruling| ruling.step)
    }
}

/// A reward for talking.
fn for_length(episode: &Trajectory) -> f32 {
    (episode.sampled_tokens() as f32 / 240.0).min(1.0)
}

async fn run(sets: &[&str], plant: Plant, talkative: bool, policies: bool) -> Ended {
    let lab = Lab::new();
    let output = format!("run.output_dir={}", serde_json::Value::from(lab.runs().to_str().unwrap()));
    let adjust = format!("training.auto_adjust={}", if policies { "always" } else { "never" });
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).chain([output, adjust]).collect();
    let config = stateset_agents::cli::validate::check(&small(), &sets, &Kinds::default()).unwrap();
    let mut builder = Runtime::builder().config(config.clone());
    if plant != Plant::Nothing {
        builder = builder.backends(backends(&config, plant));
    }
    if talkative {
        builder = builder.reward(FnReward(for_length));
    }
    let runtime = builder.build().unwrap();
    let files = runtime.files();
    let outcome = runtime.run().await;
    Ended::of(lab, &files, outcome)
}

/// Half an hour's failure in half a minute: a rung that is learned in a few steps.
const SHORT: [&str; 3] = ["training.steps=12", "evaluation.episodes=48", "training.save_every=2"];
/// Enough steps to see what becomes of a run.
const MIDDLE: [&str; 3] = ["training.steps=24", "evaluation.episodes=64", "training.save_every=2"];
const LONG: [&str; 5] = [
    "training.steps=40",
    "training.groups_per_step=8",
    "training.group_size=8",
    "evaluation.episodes=128",
    "training.save_every=5",
];

async fn beside(name: &str, sets: &[&str], plant: Plant, talkative: bool, rule: &str, planted: u64, within: u64) {
    let (with, without) = (run(sets, plant, talkative, true).await, run(sets, plant, talkative, false).await);
    let acted = with.acted(rule).unwrap_or_else(|| panic!("{name}: {rule} did nothing: {:?}", with.rulings));
    println!(
        "{name}: planted at step {planted}, {rule} acts at step {acted}; held-out success {:.1} % with rules ({}), {:.1} % without ({})",
        100.0 * with.success,
        with.reason,
        100.0 * without.success,
        without.reason
    );
    assert!(acted >= planted && acted <= planted + within, "{name}: planted at {planted}, acted on at {acted}");
    assert!(without.rulings.iter().all(|ruling| !ruling.acts()), "{name}: rules that may not act did");
    assert!(with.success > without.success, "{name}: {} with rules, {} without", with.success, without.success);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gradient_that_is_not_a_number_is_noticed_at_once_and_got_over() {
    beside("NaN gradient", &SHORT, Plant::NanGradient(4), false, "broken_weights", 4, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learning_rate_a_hundred_times_too_high_is_noticed_within_four_steps_and_got_over() {
    beside("lr x100", &SHORT, Plant::LearningRate(4), false, "collapse", 4, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `just health` runs it"]
async fn the_same_over_a_longer_run() {
    beside("NaN gradient, 40 steps", &LONG, Plant::NanGradient(12), false, "broken_weights", 12, 0).await;
    beside("lr x100, 40 steps", &LONG, Plant::LearningRate(12), false, "collapse", 12, 4).await;
    beside("lr x100 from the start", &LONG, Plant::LearningRate(1), false, "collapse", 1, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `just health` runs it"]
async fn a_reward_for_something_else_is_noticed_and_the_run_ends_before_it_has_done_its_worst() {
    let sets = [&LONG[..], &["training.save_every=1", "environment.rung=standard"]].concat();
    beside("reward for length", &sets, Plant::Nothing, true, "reward_without_success", 1, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `just health` runs it"]
async fn a_policy_that_does_not_explore_is_noticed_within_four_steps_and_made_to() {
    let sets = [&MIDDLE[..], &["agent.sampling.temperature=0.02"]].concat();
    beside("no entropy", &sets, Plant::Nothing, false, "no_exploration", 1, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `just health` runs it"]
async fn of_ten_healthy_runs_few_raise_an_alarm() {
    let mut alarmed = 0;
    for seed in 1..=10 {
        let seed = format!("run.seed={seed}");
        let ended = run(&[&MIDDLE[..], &[&seed]].concat(), Plant::Nothing, false, true).await;
        let acting: Vec<String> =
            ended.rulings.iter().map(|ruling| format!("step {}: {ruling}", ruling.step)).collect();
        println!("{seed}: {:.1} %, {} rulings: {acting:?}", 100.0 * ended.success, acting.len());
        alarmed += u32::from(ended.rulings.iter().any(Ruling::acts));
    }
    assert!(alarmed <= 2, "{alarmed} of ten");
}
