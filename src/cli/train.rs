//! `stateset train CONFIG`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use stateset_actors::policy::Profile;
use stateset_actors::protocol::FinishReason;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::auto::{self, Choice};
use super::console::Console;
use super::progress::Progress;
use crate::config::{Config, Problems, Verbosity};
use crate::report::{Measure, Summary};
use crate::run_folder::write_whole;
use crate::topology::Kinds;
use crate::{Interrupter, Reloader, RunResult, Runtime};

/// What a shell says of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

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
    /// `builtin:tiny`, or a model's folder [agent.model]
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
}

impl TrainArgs {
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
    let progress = Arc::new(Progress::new());
    let listener = progress.clone();
    let (sets, choice) = settled(args)?;
    let builder = Runtime::builder()
        .config_file(&args.config.config, &sets)?
        .resume(args.resume)
        .events(Arc::new(Console))
        .last_resort(|| std::process::exit(i32::from(STUCK)))
        .on_update(move |update| listener.tell(update));
    let runtime = builder.build()?;
    let log_from = log_to_stderr(runtime.config().logging.level, &progress);
    if let Some(choice) = choice {
        progress.note(&choice.told());
        write_whole(&runtime.files().auto(), &format!("{}\n", serde_json::to_string_pretty(&choice)?))?;
    }
    progress.begin(&runtime);
    let result = super::async_runtime()?.block_on(async {
        let watching = tokio::spawn(progress.clone().watch(runtime.vitals(), runtime.restarts()));
        let listening = tokio::spawn(heed_ctrl_c(runtime.interrupter(), progress.clone()));
        let rereading = tokio::spawn(heed_hangup(rereader(args), runtime.reloader(), log_from, progress.clone()));
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
    let config = super::validate::check(&args.config.config, &sets, &Kinds::default())?;
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

/// The first Ctrl-C saves and ends; the second ends at once, and the run can be resumed from its last checkpoint.
async fn heed_ctrl_c(interrupter: Interrupter, progress: Arc<Progress>) {
    if tokio::signal::ctrl_c().await.is_ok() {
        progress.note("interrupted: saving and ending after this step (Ctrl-C again ends at once)");
        interrupter.interrupt();
    }
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(i32::from(INTERRUPTED));
    }
}

/// Reads the run's file again, with what was laid over it when the run began.
fn rereader(args: &TrainArgs) -> impl Fn() -> Result<Config, Problems> + Send + use<> {
    let (path, sets) = (args.config.config.clone(), args.sets());
    move || super::validate::check(&path, &sets, &Kinds::default())
}

/// SIGHUP has the configuration read again, and the run go on with it if it can.
async fn heed_hangup(
    read: impl Fn() -> Result<Config, Problems> + Send,
    reloader: Reloader,
    log_from: impl Fn(Verbosity) + Send,
    progress: Arc<Progress>,
) {
    let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
    while hangups.recv().await.is_some() {
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
