//! `stateset chat RUN`.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use stateset_domain::{Message, Role, Stream, ToolCall};
use stateset_environments::DomainSpec;

use super::evaluate::Trained;
use crate::chat::Chat;
use crate::run_folder::RunFolder;

/// Options of `chat`.
#[derive(Debug, Args)]
pub struct ChatArgs {
    /// The run's folder
    run: PathBuf,
    /// Sample replies at the training temperature instead of taking the likeliest words
    #[arg(long)]
    sample: bool,
    /// Seed of sampled replies, and of what the tools find
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Reads lines from standard input and answers them.
///
/// # Errors
/// If the run cannot be loaded, or standard output is closed.
pub fn run(args: &ChatArgs) -> Result<()> {
    let Trained { recorded, step, policy, domain } = Trained::load(&RunFolder::inspect(&args.run)?)?;
    let sampling = recorded.config.agent.sampling;
    let sampling = if args.sample { sampling } else { sampling.greedy() };
    let stream = Stream::new(args.seed);
    let mut chat = Chat::new(&policy, sampling, stream)?.with_tools(tools(domain, stream.fork(1)));
    let (input, mut out) = (io::stdin(), io::stdout());
    let typed = input.is_terminal();
    if typed {
        writeln!(out, "{} at step {step}. An empty line starts over, Ctrl-D ends.", args.run.display())?;
    }
    prompt(typed, &mut out)?;
    for line in input.lock().lines() {
        let line = line?;
        match line.trim() {
            "" => chat.restart(),
            text => {
                if !typed {
                    writeln!(out, "user       {text}")?;
                }
                answer(&mut chat, text, &mut out)?;
            }
        }
        prompt(typed, &mut out)?;
    }
    Ok(())
}

fn prompt(typed: bool, out: &mut impl Write) -> io::Result<()> {
    if typed {
        write!(out, "user       ")?;
    }
    out.flush()
}

fn answer(chat: &mut Chat, text: &str, out: &mut impl Write) -> Result<()> {
    match chat.say(text) {
        Ok(said) => said.iter().try_for_each(|message| show(message, out))?,
        Err(error) => {
            writeln!(out, "({error}; starting over)")?;
            chat.restart();
        }
    }
    Ok(())
}

fn show(message: &Message, out: &mut impl Write) -> io::Result<()> {
    let Message { role, content } = message;
    let name = match role {
        Role::System | Role::User | Role::Assistant => role.name(),
        Role::Tool => "tool",
    };
    writeln!(out, "{name:<10} {content}")
}

/// The domain's tools, finding one of the outcomes they can have.
fn tools(domain: DomainSpec, mut stream: Stream) -> impl FnMut(&ToolCall) -> String + Send {
    move |call| {
        let found = domain.tools.get(&call.name).and_then(|tool| {
            let lookup = domain.lookups.values().find(|lookup| lookup.tool == call.name)?;
            let outcomes: Vec<&String> = lookup.outcomes.keys().collect();
            Some(serde_json::json!({ tool.field.as_str(): stream.choose(&outcomes) }).to_string())
        });
        found.unwrap_or_else(|| serde_json::json!({ "error": "no such tool" }).to_string())
    }
}
