//! `stateset chaos CONFIG`: a whole run under faults, and a verdict.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use super::validate;
use crate::chaos::{Calm, Evidence, Verdict, limits};
use crate::config::Config;
use crate::run_folder::{RunFolder, write_whole};
use crate::supervise::Worker;
use crate::topology::Kinds;

/// Options of `chaos`.
#[derive(Debug, Args)]
pub struct ChaosArgs {
    #[command(flatten)]
    config: super::ConfigArgs,
    /// How many faults
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    faults: u64,
    /// Seed of the faults: the same seed draws the same ones
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Folder that holds the runs' folders [run.output_dir]
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Fault-free runs that the result is held against; may be repeated
    #[arg(long, value_name = "RUN", num_args = 1..)]
    against: Vec<PathBuf>,
}

/// Runs the job under faults, in a process that is started again whenever it dies, and judges what came of it.
///
/// # Errors
/// If the configuration cannot be run, or the worker was given up on.
pub fn run(args: &ChaosArgs) -> Result<ExitCode> {
    let calm: Vec<Calm> = args.against.iter().map(|run| Calm::read(run)).collect::<Result<_>>()?;
    let typed = args.sets();
    let asked = validate::check(&args.config.config, &typed, &Kinds::default())?;
    let changes = limits(&asked, args.faults);
    let sets: Vec<String> = changes.iter().map(|change| format!("{}={}", change.key, change.to)).chain(typed).collect();
    let config = validate::check(&args.config.config, &sets, &Kinds::default())?;
    eprintln!("chaos: {} faults (seed {}) in {} steps", args.faults, args.seed, config.training.steps);
    for change in &changes {
        eprintln!("chaos: {} is {} instead of {}: {}", change.key, change.to, change.from, change.why);
    }
    let worker = Worker::new(&config, args.worker(&config, &sets, false)?, args.worker(&config, &sets, true)?, false);
    let code = worker.keep_running()?;
    if code != 0 {
        // Refused or interrupted: it has said so, and there is nothing to judge yet.
        return Ok(ExitCode::from(code));
    }
    let run = RunFolder::find(&config.run.output_dir, &config.run.name).context("the run has left no folder")?;
    let verdict = Verdict::of(&Evidence::read(&run, changes)?, &calm);
    write_whole(&run.verdict(), &format!("{}\n", serde_json::to_string_pretty(&verdict)?))?;
    write!(std::io::stdout(), "\n{verdict}")?;
    Ok(if verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl ChaosArgs {
    fn sets(&self) -> Vec<String> {
        let text = |path: &PathBuf| serde_json::Value::String(path.display().to_string()).to_string();
        let folder = self.output_dir.as_ref().map(|path| format!("run.output_dir={}", text(path)));
        folder.into_iter().chain(self.config.sets.iter().cloned()).collect()
    }

    /// The command that does the work.
    fn worker(&self, config: &Config, sets: &[String], resume: bool) -> Result<Command> {
        let rate = self.faults as f64 / config.training.steps as f64;
        let mut arguments: Vec<OsString> = vec!["train".into(), self.config.config.clone().into()];
        sets.iter().for_each(|set| arguments.extend(["--set".into(), set.into()]));
        arguments.extend(["--fault-rate".into(), rate.to_string().into()]);
        arguments.extend(["--fault-seed".into(), self.seed.to_string().into()]);
        arguments.extend(resume.then(|| "--resume".into()));
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).arg("--worker");
        Ok(command)
    }
}
