//! The `stateset` command, one file per subcommand.

mod auto;
pub mod bench;
pub mod chaos;
pub mod chat;
pub mod compare;
mod console;
pub mod diff;
pub mod doctor;
pub mod errors;
pub mod evaluate;
pub mod export;
pub mod graph;
pub mod inspect;
pub mod pretrain;
pub mod progress;
pub mod render;
pub mod schema;
pub mod score;
pub mod train;
pub mod validate;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Problems;
use crate::topology::Kinds;

/// Trains multi-turn conversational agents with reinforcement learning, in a runtime of supervised actors.
#[derive(Debug, Parser)]
#[command(name = "stateset", version, max_term_width = 110, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a policy
    #[command(after_help = "Examples:\n  stateset train config/quickstart.yaml\n  \
        stateset train config/quickstart.yaml --seed 7 --set training.steps=20\n  \
        stateset train config/quickstart.yaml --resume")]
    Train(train::TrainArgs),
    /// Train while things go wrong on purpose, and judge whether the guarantees held
    #[command(after_help = "Examples:\n  stateset chaos config/quickstart.yaml --faults 500 --seed 1\n  \
        stateset chaos config/smoke.yaml --faults 5 --output-dir /tmp/chaos\n  \
        stateset chaos config/quickstart.yaml --faults 500 --against runs/quickstart runs/quickstart-2")]
    Chaos(chaos::ChaosArgs),
    /// Measure a trained policy on held-out scenarios
    #[command(after_help = "Examples:\n  stateset evaluate runs/quickstart\n  \
        stateset evaluate runs/quickstart --rung hard --num-episodes 512 --output-file hard.json")]
    Evaluate(evaluate::EvaluateArgs),
    /// Write what a run has learnt as a folder that other programs load
    #[command(after_help = "Examples:\n  stateset export runs/quickstart --output-dir policy\n  \
        stateset export runs/lora/smoke --merge --dtype bf16 --output-dir policy")]
    Export(export::ExportArgs),
    /// Put several runs side by side
    #[command(after_help = "Examples:\n  stateset compare runs/grpo runs/grpo-2 runs/dpo\n  \
        stateset compare runs/* --output-file comparison.html")]
    Compare(compare::CompareArgs),
    /// Talk to a trained policy
    #[command(after_help = "Examples:\n  stateset chat runs/quickstart\n  \
        echo 'hi, my account is K7Q2M. where is my order?' | stateset chat runs/quickstart")]
    Chat(chat::ChatArgs),
    /// Check a configuration, and say what it would do
    #[command(after_help = "Example:\n  stateset validate config/quickstart.yaml --set training.group_size=16")]
    Validate(ConfigArgs),
    /// Draw the actors of a run
    #[command(after_help = "Example:\n  stateset graph config/quickstart.yaml --format dot | dot -Tsvg > actors.svg")]
    Graph(GraphArgs),
    /// Look into a run: who is up, who waits for whom, what happened last
    #[command(after_help = "Examples:\n  stateset inspect runs/quickstart --watch\n  \
        stateset inspect runs/quickstart --json | jq .waiting")]
    Inspect(inspect::InspectArgs),
    /// Say what it would take to go on with another configuration
    #[command(after_help = "Example:\n  stateset diff runs/quickstart/config.yaml config/quickstart.yaml")]
    Diff(diff::DiffArgs),
    /// Print what a configuration may say, as a JSON schema for editors
    #[command(after_help = "Example:\n  stateset schema > run.schema.json")]
    Schema,
    /// Measure how fast this machine samples and learns, beside how fast it could
    Bench(bench::BenchArgs),
    /// Say what this machine and a model offer, what is used of it, and what is wrong with it
    #[command(after_help = "Examples:\n  stateset doctor\n  \
        stateset doctor --model builtin:tiny\n  \
        stateset doctor --output-dir /data/runs --json | jq '.checks[] | select(.verdict == \"problem\")'")]
    Doctor(doctor::DoctorArgs),
    /// Say how likely a model finds each of given tokens, and what it finds likelier
    #[command(after_help = "Examples:\n  stateset score --model builtin:tiny --tokens 70,71,72\n  \
        stateset score --model ./my-model --tokens 1,2,3 --top 3 --json")]
    Score(score::ScoreArgs),
    /// Print what a model is shown of a conversation: the text that its chat template makes of it, and the token ids
    #[command(
        after_help = "Examples:\n  stateset render --model models/qwen3 --messages talk.json --tools tools.json\n  \
        stateset render --model builtin:tiny --messages talk.json --json | jq .ids\n  \
        stateset render --model models/qwen3 --messages talk.json --set enable_thinking=false\n\n\
        talk.json:\n  [{\"role\": \"user\", \"content\": \"hi, my account is K7Q2M.\"}]"
    )]
    Render(render::RenderArgs),
    /// Make a small policy from demonstrations
    #[command(after_help = "Example:\n  stateset pretrain config/pretrain-tiny.yaml --output-dir /tmp/tiny")]
    Pretrain(pretrain::PretrainArgs),
}

/// A configuration and what is laid over it.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The YAML file
    config: PathBuf,
    /// Replace one value, by its path; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

#[derive(Debug, Args)]
struct GraphArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// In which language
    #[arg(long, value_enum, default_value_t = GraphFormat::Mermaid)]
    format: GraphFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GraphFormat {
    /// For Markdown
    Mermaid,
    /// For Graphviz
    Dot,
}

/// Runs the command line and names the exit code: 0 done, 1 failed, 2 refused, 3 differs, 75 stuck, 130 interrupted.
#[must_use]
pub fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Train(args) => train::run(&args),
        Command::Chaos(args) => chaos::run(&args),
        Command::Evaluate(args) => evaluate::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Export(args) => export::run(&args, &mut std::io::stdout()).map(|()| ExitCode::SUCCESS),
        Command::Compare(args) => compare::run(&args, &mut std::io::stdout()).map(|()| ExitCode::SUCCESS),
        Command::Chat(args) => chat::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Validate(ConfigArgs { config, sets }) => {
            validate::run(&config, &sets, &mut std::io::stdout()).map(|()| ExitCode::SUCCESS)
        }
        Command::Graph(args) => draw(&args).map(|()| ExitCode::SUCCESS),
        Command::Inspect(args) => inspect::run(&args, &mut std::io::stdout()).map(|()| ExitCode::SUCCESS),
        Command::Diff(args) => diff::run(&args, &mut std::io::stdout()),
        Command::Schema => schema::run(&mut std::io::stdout()).map(|()| ExitCode::SUCCESS),
        Command::Bench(args) => bench::run(args, &mut std::io::stdout()),
        Command::Doctor(args) => doctor::run(&args, &mut std::io::stdout()),
        Command::Score(args) => score::run(&args, &mut std::io::stdout()).map(|()| ExitCode::SUCCESS),
        Command::Render(args) => render::run(&args, &mut std::io::stdout()).map(|()| ExitCode::SUCCESS),
        Command::Pretrain(args) => pretrain::run(&args).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| errors::exit(&error))
}

fn draw(args: &GraphArgs) -> anyhow::Result<()> {
    let kinds = Kinds::default();
    let config = validate::check(&args.config.config, &args.config.sets, &kinds)?;
    let graph = match args.format {
        GraphFormat::Mermaid => graph::mermaid(&config, &kinds),
        GraphFormat::Dot => graph::dot(&config, &kinds),
    };
    let graph = graph.map_err(|problems| Problems { file: args.config.config.clone(), problems })?;
    Ok(std::io::Write::write_all(&mut std::io::stdout(), graph.as_bytes())?)
}

/// The runtime that actors live in: numerics have threads of their own, so two workers are plenty.
fn async_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
