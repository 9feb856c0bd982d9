//! `stateset evaluate RUN`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use stateset_domain::Digest;
use stateset_environments::{DomainSpec, Ladder};
use stateset_models::Pretrained;

use crate::report::Measure;
use crate::run_folder::{RunFiles, RunFolder, write_whole};
use crate::{Recorded, Runtime, model};

/// Options of `evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// The run's folder
    run: PathBuf,
    /// Held-out scenarios to play, sampled and greedily; default: as many as the run did
    #[arg(long, value_name = "N")]
    num_episodes: Option<u32>,
    /// A rung of the run's domain other than the one it was trained on
    #[arg(long)]
    rung: Option<String>,
    /// Write the result to this file as JSON too
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
}

/// What an evaluation found.
#[derive(Debug, Serialize)]
struct Found {
    run: PathBuf,
    step: u64,
    rung: String,
    policy_digest: Digest,
    #[serde(flatten)]
    measure: Measure,
}

/// A run's newest checkpoint, ready to be used.
pub(super) struct Trained {
    pub(super) recorded: Recorded,
    pub(super) step: u64,
    pub(super) policy: Pretrained,
    pub(super) domain: DomainSpec,
}

impl Trained {
    /// Loads what the run in `files` has come to.
    pub(super) fn load(files: &RunFiles) -> Result<Self> {
        let recorded = Recorded::of(files)?;
        let text = recorded.domain.as_deref().context("the run was made in an environment of an application's own")?;
        let domain = DomainSpec::from_yaml(text)?;
        let checkpoint = Recorded::checkpoint(files)?;
        let checkpoint = checkpoint.with_context(|| format!("{} has no checkpoint yet", files.folder().display()))?;
        let policy = model::of_checkpoint(checkpoint.artifacts)?;
        Ok(Self { recorded, step: checkpoint.progress.step, policy, domain })
    }
}

/// Evaluates.
///
/// # Errors
/// If the folder holds no run with a checkpoint, or the runtime gave up.
pub fn run(args: &EvaluateArgs) -> Result<()> {
    let files = RunFolder::inspect(&args.run)?;
    let Trained { recorded, step, policy, domain } = Trained::load(&files)?;
    let mut config = recorded.config;
    let rung = args.rung.clone().unwrap_or_else(|| config.environment.rung.clone());
    let ladder = Ladder::new(Arc::new(domain), &rung, config.run.seed)?;
    // An evaluation is a run of no steps.
    let scratch = Scratch::new("evaluate")?;
    config.run.output_dir = scratch.path().to_owned();
    config.training.steps = 0;
    config.evaluation.episodes = args.num_episodes.unwrap_or(config.evaluation.episodes);
    let runtime = Runtime::builder().config(config).model(policy).environment(ladder).build()?;
    let summary = super::async_runtime()?.block_on(runtime.run())?.summary;
    let measure = summary.base.context("nothing was evaluated")?;
    let found = Found { run: args.run.clone(), step, rung, policy_digest: summary.policy_digest, measure };
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{} at step {} on {} held-out episodes of {}",
        args.run.display(),
        step,
        measure.episodes,
        found.rung
    )?;
    writeln!(out, "  success  {:5.1} % sampled", 100.0 * measure.success_rate)?;
    writeln!(out, "           {:5.1} % greedy", 100.0 * measure.success_rate_greedy)?;
    writeln!(out, "  reward   {:.3}", measure.reward_mean)?;
    if let Some(path) = &args.output_file {
        write_whole(path, &format!("{}\n", serde_json::to_string_pretty(&found)?))?;
    }
    Ok(())
}

/// A folder that is gone when this is dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// `purpose` becomes part of its name.
    pub(super) fn new(purpose: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("stateset-{purpose}-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left over lies in the system's temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
