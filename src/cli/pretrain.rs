//! `stateset pretrain CONFIG`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use stateset_environments::DomainSpec;
use stateset_models::Pretrained;
use stateset_training::SupervisedReport;

use super::validate;
use crate::config;

/// Options of `pretrain`.
#[derive(Debug, Args)]
pub struct PretrainArgs {
    #[command(flatten)]
    config: super::ConfigArgs,
    /// Where the model's files go
    #[arg(long, value_name = "DIR", default_value = "assets/tiny")]
    output_dir: PathBuf,
}

/// Pre-trains.
///
/// # Errors
/// If the configuration cannot be run, or the files cannot be written.
pub fn run(args: &PretrainArgs) -> Result<()> {
    let settings = config::load_pretraining(&args.config.config, &args.config.sets, validate::rungs)?;
    let text = std::fs::read_to_string(&settings.domain)
        .with_context(|| format!("cannot read the domain {}", settings.domain.display()))?;
    let started = Instant::now();
    let shown = Shown::new(settings.steps);
    let files = crate::pretrain(&settings, DomainSpec::from_yaml(&text)?, |step, report| shown.step(step, report))?;
    shown.bar.finish_and_clear();
    std::fs::create_dir_all(&args.output_dir)
        .with_context(|| format!("cannot create {}", args.output_dir.display()))?;
    for file in &files {
        let path = args.output_dir.join(&file.name);
        std::fs::write(&path, &file.bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let bytes: usize = files.iter().map(|file| file.bytes.len()).sum();
    let digest = digest(Pretrained::from_files(files)?);
    let (folder, seconds) = (args.output_dir.display(), started.elapsed().as_secs_f64());
    let mut out = std::io::stdout();
    writeln!(out, "{folder}: {:.1} MB in {seconds:.0} s, policy {digest}", bytes as f64 / 1e6)?;
    Ok(())
}

fn digest(model: Pretrained) -> stateset_domain::Digest {
    stateset_domain::PolicySnapshot::digest_of(&model.weights.to_tensors())
}

/// A bar on a terminal, a line every hundred steps in a pipe.
struct Shown {
    bar: ProgressBar,
    live: bool,
}

impl Shown {
    fn new(steps: u64) -> Self {
        let live = std::io::stderr().is_terminal();
        let bar = if live { ProgressBar::new(steps) } else { ProgressBar::hidden() };
        bar.set_length(steps);
        if let Ok(style) = ProgressStyle::with_template("pretraining {bar:28.cyan/blue} {pos}/{len}  {msg}  ETA {eta}")
        {
            bar.set_style(style.progress_chars("━╸─"));
        }
        Self { bar, live }
    }

    fn step(&self, step: u64, report: &SupervisedReport) {
        let line = format!("loss {:.4}", report.loss);
        self.bar.set_position(step);
        self.bar.set_message(line.clone());
        if !self.live && (step == 1 || step.is_multiple_of(100)) {
            eprintln!("step {step:>5}/{}  {line}", self.bar.length().unwrap_or(0));
        }
    }
}
