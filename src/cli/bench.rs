//! `stateset bench WHAT`.

use std::env;
use std::io::{IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::oneshot;

use crate::bench::advantage::{Episodes, advantage};
use crate::bench::grpo::grpo;
use crate::bench::log_prob::{Logits, log_prob};
use crate::bench::rollout::rollout;
use crate::bench::step::{Learning, step};
use crate::bench::{Progress, Repeats, Report, Shape, Workload};
use crate::device::Device;

/// Interrupted, as a shell would have it.
const INTERRUPTED: u8 = 130;

/// Where the pools of all kernels read their number of threads from, once and early.
const THREADS: &str = "RAYON_NUM_THREADS";

/// What to measure.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true, subcommand_required = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// Sampling: the engine from the first prompt to the last token
    #[command(after_help = "Examples:\n  stateset bench rollout --shape A\n  \
        stateset bench rollout --shape B --group 8 --ragged --turns 3\n  \
        stateset bench rollout --shape ./my-model --sequences 128 --threads 4 --json")]
    Rollout(RolloutArgs),
    /// Learning: one optimizer step, from forward pass to updated weights
    #[command(after_help = "Examples:\n  stateset bench step --shape A\n  \
        stateset bench step --shape B --group 8 --beta 0.04 --micro-batch-tokens 2048\n  \
        stateset bench step --shape C --sequences 8 --lora 16")]
    Step(StepArgs),
    /// A training step without actors: rollout, reward, optimizer step, and the weights handed over
    #[command(after_help = "Example:\n  stateset bench grpo --shape A --sequences 64 --group 8 --ragged --turns 3")]
    Grpo(GrpoArgs),
    /// Log-probabilities of sampled tokens over a large vocabulary, and their gradient
    #[command(after_help = "Example:\n  stateset bench logprob --rows 4096 --vocab 49152")]
    Logprob(LogprobArgs),
    /// Credit: advantages within groups, and generalised advantage estimation
    #[command(after_help = "Example:\n  stateset bench advantage --sequences 4096 --completion 256")]
    Advantage(AdvantageArgs),
}

#[derive(Debug, Clone, Args)]
struct RolloutArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Conversations in a row that share their prompt
    #[arg(long, default_value_t = 1, value_parser = at_least_one())]
    group: usize,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Clone, Args)]
struct StepArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Conversations in a row that share their prompt
    #[arg(long, default_value_t = 1, value_parser = at_least_one())]
    group: usize,
    #[command(flatten)]
    learning: LearningArgs,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Clone, Args)]
struct GrpoArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Conversations in a row that share their prompt, and are compared
    #[arg(long, default_value_t = 8, value_parser = at_least_one())]
    group: usize,
    #[command(flatten)]
    learning: LearningArgs,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Clone, Args)]
struct LogprobArgs {
    /// Tokens to score
    #[arg(long, default_value_t = 4096, value_parser = at_least_one())]
    rows: usize,
    /// Logits of each
    #[arg(long, default_value_t = 49152, value_parser = at_least_one())]
    vocab: usize,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Clone, Args)]
struct AdvantageArgs {
    /// Episodes
    #[arg(long, default_value_t = 4096, value_parser = at_least_one())]
    sequences: usize,
    /// Sampled tokens of each
    #[arg(long, default_value_t = 256, value_parser = at_least_one())]
    completion: usize,
    /// Episodes of a group
    #[arg(long, default_value_t = 8, value_parser = at_least_one())]
    group: usize,
    #[command(flatten)]
    how: HowArgs,
}

/// Which model, and what it is to say.
#[derive(Debug, Clone, Args)]
struct ModelArgs {
    /// A (3 M weights), B (25 M) or C (135 M), with random weights; or a folder with a config.json, and weights or none
    #[arg(long, default_value = "A", value_name = "A|B|C|PATH")]
    shape: Shape,
    /// Where it is computed, as `run.device`
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Conversations
    #[arg(long, default_value_t = 64, value_parser = at_least_one())]
    sequences: usize,
    /// Tokens of a prompt; what is said between two replies has a quarter of them
    #[arg(long, default_value_t = 64, value_parser = at_least_one())]
    prompt: usize,
    /// Tokens of a reply
    #[arg(long, default_value_t = 64, value_parser = at_least_one())]
    completion: usize,
    /// Draw each reply's length from 4 to --completion
    #[arg(long)]
    ragged: bool,
    /// Replies of each conversation
    #[arg(long, default_value_t = 1, value_parser = at_least_one())]
    turns: usize,
}

impl ModelArgs {
    fn workload(&self, group: usize, how: &HowArgs) -> Workload {
        let Self { shape: _, device: _, sequences, prompt, completion, ragged, turns } = *self;
        Workload { sequences, prompt, completion, group, ragged, turns, seed: how.seed }
    }
}

#[derive(Debug, Clone, Copy, Args)]
struct LearningArgs {
    /// Weight of KL from the reference policy; above 0 the reference is asked about every token
    #[arg(long, default_value_t = 0.0, value_parser = not_negative)]
    beta: f64,
    /// Tokens of one forward pass, as `training.micro_batch_tokens`
    #[arg(long, default_value_t = Learning::default().micro_batch_tokens, value_parser = at_least_one())]
    micro_batch_tokens: usize,
    /// Learn an adapter of this rank on every projection, as `training.lora`, with the weights frozen
    #[arg(long, value_name = "RANK", value_parser = at_least_one())]
    lora: Option<usize>,
}

impl LearningArgs {
    fn on(self, device: Device) -> Learning {
        let Self { beta, micro_batch_tokens, lora } = self;
        Learning { beta, micro_batch_tokens, lora, device }
    }
}

#[derive(Debug, Clone, Copy, Args)]
struct HowArgs {
    /// Threads of the kernels; all there are if left out
    #[arg(long, value_parser = at_least_one())]
    threads: Option<usize>,
    /// How often to measure, after one time that does not count
    #[arg(long, default_value_t = 5, value_parser = at_least_one())]
    repeat: usize,
    /// What weights, prompts, lengths and replies are drawn from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=1 << 24)
}

fn not_negative(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|error| format!("{error}"))?;
    (value.is_finite() && value >= 0.0).then_some(value).ok_or_else(|| "it must be 0 or more".into())
}

impl What {
    fn how(&self) -> HowArgs {
        match self {
            Self::Rollout(args) => args.how,
            Self::Step(args) => args.how,
            Self::Grpo(args) => args.how,
            Self::Logprob(args) => args.how,
            Self::Advantage(args) => args.how,
        }
    }

    fn measure(&self, tell: &mut dyn FnMut(Progress)) -> Result<Report> {
        let how = self.how();
        let repeats = Repeats(how.repeat);
        match self {
            Self::Rollout(RolloutArgs { model, group, .. }) => {
                rollout(&model.shape, &model.workload(*group, &how), model.device, repeats, tell)
            }
            Self::Step(StepArgs { model, group, learning, .. }) => {
                step(&model.shape, &model.workload(*group, &how), learning.on(model.device), repeats, tell)
            }
            Self::Grpo(GrpoArgs { model, group, learning, .. }) => {
                grpo(&model.shape, &model.workload(*group, &how), learning.on(model.device), repeats, tell)
            }
            Self::Logprob(LogprobArgs { rows, vocab, .. }) => {
                log_prob(Logits { rows: *rows, vocab: *vocab, seed: how.seed }, repeats, tell)
            }
            Self::Advantage(AdvantageArgs { sequences, completion, group, .. }) => {
                let (sequences, completion, group) = (*sequences, *completion, *group);
                advantage(Episodes { sequences, completion, group, seed: how.seed }, repeats, tell)
            }
        }
    }
}

/// Measures, and prints what was found to `out`.
///
/// # Errors
/// If what is to be measured makes no sense or cannot be computed.
pub fn run(BenchArgs { what }: BenchArgs, out: &mut impl Write) -> Result<ExitCode> {
    let how = what.how();
    if let Some(threads) = how.threads {
        use_threads(threads)?;
    }
    let bar = bar(how.repeat);
    let shown = bar.clone();
    let (done, mut waiting) = oneshot::channel();
    // A repetition is not to be interrupted; the process is.
    let measuring = std::thread::spawn(move || {
        let _ = done.send(what.measure(&mut |progress| show(&shown, progress)));
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| None).context("cannot listen for Ctrl-C"),
            report = &mut waiting => Ok(Some(report)),
        }
    });
    bar.finish_and_clear();
    match ended? {
        None => {
            eprintln!("interrupted; nothing was measured to its end");
            Ok(ExitCode::from(INTERRUPTED))
        }
        Some(Err(_)) => match measuring.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => bail!("nothing was measured"),
        },
        Some(Ok(report)) => {
            let report = report?;
            if how.json {
                writeln!(out, "{}", report.to_json())?
            } else {
                write!(out, "{}", report.to_text())?
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Has this process use so many threads: it begins anew where its environment says otherwise, as the pools may not be asked later.
fn use_threads(threads: usize) -> Result<()> {
    let wanted = threads.to_string();
    if env::var(THREADS).is_ok_and(|set| set == wanted) {
        return Ok(());
    }
    let itself = env::current_exe().context("cannot find this program to start it with another number of threads")?;
    let error = Command::new(&itself).args(env::args_os().skip(1)).env(THREADS, wanted).exec();
    Err(error).with_context(|| format!("cannot start {} with {threads} threads", itself.display()))
}

/// A bar on a terminal, nothing in a pipe.
fn bar(repetitions: usize) -> ProgressBar {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    bar.set_length(repetitions as u64);
    if let Ok(style) = ProgressStyle::with_template("measuring {bar:28.cyan/blue} {pos}/{len}  {msg}  {elapsed}") {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn show(bar: &ProgressBar, progress: Progress) {
    match progress {
        Progress::Preparing => bar.set_message("making model and inputs"),
        Progress::WarmingUp => bar.set_message("warming up"),
        Progress::Measured(times, seconds) => {
            bar.set_position(times as u64);
            bar.set_message(format!("last {seconds:.3} s"));
        }
        Progress::Roof => bar.set_message("measuring what the machine could do"),
    }
}
