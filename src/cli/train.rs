//! `stateset train CONFIG`.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use stateset_actors::policy::Profile;
use stateset_actors::protocol::FinishReason;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tracing_subscriber::EnvFilter;

use super::auto::{self, Choice};
use super::console::Console;
use super::progress::Progress;
use super::validate;
use crate::config::{Config, Problems, Verbosity, load_faults};
use crate::report::{Measure, Summary};
use crate::run_folder::write_whole;
use crate::supervise::policy::INTERRUPTED;
use crate::supervise::{Worker, lifeline};
use crate::topology::Kinds;
use crate::{Faults, Interrupter, Reloader, RunResult, Runtime};

/// Nothing moves, and nothing has helped. A parent that sees this starts the command again (`EX_TEMPFAIL`).
pub const STUCK: u8 = 75;

/// Options of `train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(flatten)]
    config: super::ConfigArgs,
    /// Seed of every random choice [run.seed]
    #[arg(long)]
    seed: Option<u64>,
    /// Folder that holds the runs' folders [run.output_dir]
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// `builtin:tiny`, a model's folder, or `org/name` of the Hugging Face hub [agent.model]
    #[arg(long, value_name = "MODEL")]
    model_name: Option<String>,
    /// Steps between two checkpoints [training.save_every]
    #[arg(long, value_name = "STEPS")]
    save_every: Option<u64>,
    /// Steps between two evaluations [training.eval_every]
    #[arg(long, value_name = "STEPS")]
    eval_every: Option<u64>,
    /// A manner of training: none, conservative, balanced, aggressive, or auto [training.profile]
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// Play a few episodes first and choose a profile by them [training.profile=auto]
    #[arg(long, conflicts_with = "profile")]
    auto: bool,
    /// Let every health rule of the profile act by itself [training.auto_adjust=always]
    #[arg(long)]
    auto_adjust: bool,
    /// End the run once held-out success stops rising [training.early_stopping.enabled]
    #[arg(long)]
    early_stopping: bool,
    /// Evaluations without improvement that are put up with [training.early_stopping.patience]
    #[arg(long, value_name = "EVALUATIONS")]
    patience: Option<u64>,
    /// What is printed: error, warn, info, debug or trace [logging.level]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Go on with the newest run of this name, from its last checkpoint
    #[arg(long)]
    resume: bool,
    /// Run in a process of its own, and start that again when it dies
    #[arg(long)]
    supervise: bool,
    /// Let the faults of a plan happen
    #[arg(long, value_name = "PLAN.yaml", conflicts_with = "fault_rate")]
    faults: Option<PathBuf>,
    /// Let faults happen at random, so many a step
    #[arg(long, value_name = "RATE", value_parser = rate)]
    fault_rate: Option<f64>,
    /// Seed of the faults that happen at random [the run's]
    #[arg(long, value_name = "SEED", requires = "fault_rate")]
    fault_seed: Option<u64>,
    /// Another process supervises this one, over its standard input
    #[arg(long, hide = true)]
    worker: bool,
}

impl TrainArgs {
    /// What is to go wrong in the run `config`.
    fn faults(&self, config: &Config) -> Result<Option<Faults>> {
        if let Some(path) = &self.faults {
            return Ok(Some(Faults::Planned(load_faults(path, config.training.steps)?)));
        }
        let (seed, watched) = (self.fault_seed.unwrap_or(config.run.seed), self.worker);
        Ok(self.fault_rate.map(|rate| Faults::Random { rate, seed, watched }))
    }

    /// Flags are overrides with shorter names; `--set` wins over them.
    fn sets(&self) -> Vec<String> {
        let flag = |key: &str, value: Option<String>| value.map(|value| format!("{key}={value}"));
        let text = |value: &dyn std::fmt::Display| serde_json::Value::String(value.to_string()).to_string();
        let flags = [
            flag("run.seed", self.seed.map(|seed| seed.to_string())),
            flag("run.output_dir", self.output_dir.as_ref().map(|path| text(&path.display()))),
            flag("agent.model", self.model_name.as_ref().map(|name| text(name))),
            flag("training.save_every", self.save_every.map(|steps| steps.to_string())),
            flag("training.eval_every", self.eval_every.map(|steps| steps.to_string())),
            flag("training.profile", self.auto.then(|| "auto".to_owned()).or_else(|| self.profile.clone())),
            flag("training.auto_adjust", self.auto_adjust.then(|| "always".to_owned())),
            flag("training.early_stopping.enabled", self.early_stopping.then(|| "true".to_owned())),
            flag("training.early_stopping.patience", self.patience.map(|patience| patience.to_string())),
            flag("logging.level", self.log_level.clone()),
        ];
        flags.into_iter().flatten().chain(self.config.sets.iter().cloned()).collect()
    }
}

/// Trains.
///
/// # Errors
/// If the configuration cannot be run, or the runtime gave up.
pub fn run(args: &TrainArgs) -> Result<ExitCode> {
    if args.supervise {
        return supervise(args);
    }
    let requests = if args.worker { lifeline::hold()? } else { lifeline::Requests::default() };
    let progress = Arc::new(Progress::new());
    let listener = progress.clone();
    let (sets, choice) = settled(args)?;
    let config = validate::check(&args.config.config, &sets, &Kinds::default())?;
    let faults = args.faults(&config)?;
    let mut builder = Runtime::builder()
        .config(config)
        .resume(args.resume)
        .events(Arc::new(Console))
        .last_resort(|| std::process::exit(i32::from(STUCK)))
        .on_update(move |update| listener.tell(update));
    if let Some(faults) = faults {
        builder = builder.faults(faults);
    }
    let runtime = builder.build()?;
    let log_from = log_to_stderr(runtime.config().logging.level, &progress);
    if let Some(choice) = choice {
        progress.note(&choice.told());
        write_whole(&runtime.files().auto(), &format!("{}\n", serde_json::to_string_pretty(&choice)?))?;
    }
    if let Some(plan) = runtime.memory_plan() {
        progress.note(&format!("memory, by training.memory_budget:\n{plan}"));
    }
    progress.begin(&runtime);
    let result = super::async_runtime()?.block_on(async {
        let watching = tokio::spawn(progress.clone().watch(runtime.vitals(), runtime.restarts()));
        let listening = tokio::spawn(heed(requests.ends, runtime.interrupter(), progress.clone()));
        let rereading =
            tokio::spawn(heed_hangup(requests.reloads, rereader(args), runtime.reloader(), log_from, progress.clone()));
        let result = runtime.run().await;
        watching.abort();
        listening.abort();
        rereading.abort();
        result
    });
    progress.end();
    let result = result?;
    conclude(&result, &mut std::io::stdout())?;
    Ok(match result.reason {
        FinishReason::Completed | FinishReason::Stopped => ExitCode::SUCCESS,
        FinishReason::Interrupted => ExitCode::from(INTERRUPTED),
    })
}

/// What is laid over the file, once it is known which profile `auto` means; and the choice, if one was made.
fn settled(args: &TrainArgs) -> Result<(Vec<String>, Option<Choice>)> {
    let mut sets = args.sets();
    let config = validate::check(&args.config.config, &sets, &Kinds::default())?;
    if config.training.profile != Profile::Auto {
        return Ok((sets, None));
    }
    let recorded = if args.resume { auto::recorded(&config)? } else { None };
    let (profile, choice) = match recorded {
        Some(profile) => (profile, None),
        None => {
            let choice = auto::choose(config)?;
            (choice.profile, Some(choice))
        }
    };
    sets.push(format!("training.profile={}", Choice::name(profile)));
    Ok((sets, choice))
}

/// A number of faults a step.
fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if rate > 0.0 && rate <= 1000.0 { Ok(rate) } else { Err("it is not above 0 and at most 1000".into()) }
}

/// Leaves the work to another process, and keeps that running.
fn supervise(args: &TrainArgs) -> Result<ExitCode> {
    let config = validate::check(&args.config.config, &args.sets(), &Kinds::default())?;
    args.faults(&config)?;
    let typed: Vec<OsString> = std::env::args_os().skip(1).collect();
    let command = |resume| -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(worker_arguments(&typed, resume)).arg("--worker");
        Ok(command)
    };
    Ok(ExitCode::from(Worker::new(&config, command(args.resume)?, command(true)?, args.resume).keep_running()?))
}

/// What the process asks for that supervises this one, if there is one.
type Requests = Option<UnboundedReceiver<()>>;

/// What was typed, as the worker gets it.
fn worker_arguments(typed: &[OsString], resume: bool) -> Vec<OsString> {
    let own = ["--supervise", "--resume"];
    let kept = typed.iter().filter(|argument| !own.iter().any(|own| *argument == own)).cloned();
    kept.chain(resume.then(|| "--resume".into())).collect()
}

/// The first Ctrl-C, or request to end, saves and ends; the second ends at once, and the run can be resumed from its last checkpoint.
async fn heed(mut requests: Requests, interrupter: Interrupter, progress: Arc<Progress>) {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupts), Ok(mut ends)) = signals else { return };
    let mut asked = async || {
        tokio::select! { _ = interrupts.recv() => {}, _ = ends.recv() => {}, () = lifeline::next(&mut requests) => {} }
    };
    asked().await;
    progress.note("interrupted: saving and ending after this step (Ctrl-C again ends at once)");
    interrupter.interrupt();
    asked().await;
    std::process::exit(i32::from(INTERRUPTED));
}

/// Reads the run's file again, with what was laid over it when the run began.
fn rereader(args: &TrainArgs) -> impl Fn() -> Result<Config, Problems> + Send + use<> {
    let (path, sets) = (args.config.config.clone(), args.sets());
    move || super::validate::check(&path, &sets, &Kinds::default())
}

/// SIGHUP, here or at the process that supervises this one, has the configuration read again, and the run go on with it if it can.
async fn heed_hangup(
    mut requests: Requests,
    read: impl Fn() -> Result<Config, Problems> + Send,
    reloader: Reloader,
    log_from: impl Fn(Verbosity) + Send,
    progress: Arc<Progress>,
) {
    let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
    loop {
        tokio::select! { _ = hangups.recv() => {}, () = lifeline::next(&mut requests) => {} }
        let config = read();
        let level = config.as_ref().ok().map(|config| config.logging.level);
        match reloader.reload(config).await {
            Ok(changes) if changes.is_empty() => progress.note("reloaded: nothing has changed"),
            Ok(changes) => {
                level.into_iter().for_each(&log_from);
                changes.iter().for_each(|change| progress.note(&format!("reloaded: {change}")));
            }
            Err(refused) => progress.note(&format!("not reloaded: {refused}")),
        }
    }
}

/// Logs from `level` on. What is returned changes the level.
fn log_to_stderr(level: Verbosity, progress: &Arc<Progress>) -> impl Fn(Verbosity) + Send + use<> {
    let writer = progress.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter(level))
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(move || writer.writer())
        .with_filter_reloading();
    let handle = subscriber.reload_handle();
    // An application that embeds this may have its own subscriber; then that one is used.
    let _ = subscriber.try_init();
    // And then there is nothing to change.
    move |level| drop(handle.reload(filter(level)))
}

fn filter(level: Verbosity) -> EnvFilter {
    let level = match level {
        Verbosity::Error => "error",
        Verbosity::Warn => "warn",
        Verbosity::Info => "info",
        Verbosity::Debug => "debug",
        Verbosity::Trace => "trace",
    };
    // ractor reports what a supervisor already has as an event.
    EnvFilter::new(format!("{level},ractor=off"))
}

fn conclude(result: &RunResult, out: &mut impl Write) -> Result<()> {
    let Summary { base, trained, .. } = &result.summary;
    let line = |measure: &Measure| {
        format!(
            "{:5.1} % sampled, {:5.1} % greedy, reward {:.3}",
            100.0 * measure.success_rate,
            100.0 * measure.success_rate_greedy,
            measure.reward_mean
        )
    };
    writeln!(out)?;
    if let Some(base) = base {
        writeln!(out, "  before  {} ({} held-out episodes)", line(base), base.episodes)?;
    }
    if let Some(trained) = trained {
        writeln!(out, "  after   {}", line(trained))?;
    }
    let Summary { steps, wall_seconds, restarts, policy_digest, .. } = &result.summary;
    let policy = policy_digest.to_string();
    writeln!(out, "  {steps} steps in {wall_seconds:.1} s, {restarts} restarts, policy {policy:.12}")?;
    writeln!(out, "  report  {}", result.files.report().display())?;
    if result.reason == FinishReason::Stopped {
        writeln!(out, "  {}", result.summary.reason)?;
    }
    if result.reason == FinishReason::Interrupted {
        writeln!(out, "  interrupted; the same command with --resume goes on from here")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_given_what_was_typed_and_goes_on_from_its_second_start() {
        let typed = ["train", "a.yaml", "--supervise", "--set", "run.seed=3"].map(OsString::from);
        assert_eq!(worker_arguments(&typed, false), ["train", "a.yaml", "--set", "run.seed=3"]);
        assert_eq!(worker_arguments(&typed, true), ["train", "a.yaml", "--set", "run.seed=3", "--resume"]);
        let typed = ["train", "a.yaml", "--resume", "--supervise"].map(OsString::from);
        assert_eq!(worker_arguments(&typed, true), ["train", "a.yaml", "--resume"]);
    }
}
