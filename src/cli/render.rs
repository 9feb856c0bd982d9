//! `stateset render --model PATH --messages FILE`: what a model is shown of a conversation.

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::json;
use stateset_chat::{Conversation, Instant, Rendered, Value};

use crate::format;

/// Options of `render`.
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// The model: `builtin:tiny`, a folder, or `org/name` of the Hugging Face hub, of which the cached copy is meant
    #[arg(long)]
    model: String,
    /// A JSON file: a list of messages as OpenAI's chat format has them
    #[arg(long, value_name = "FILE")]
    messages: PathBuf,
    /// A JSON file: a list of the tools there are, each with its schema
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// Leave out what asks the model to speak
    #[arg(long)]
    no_generation_prompt: bool,
    /// Give the template one more variable, as JSON or else as text; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Print one JSON object: text, ids and the ids that end a reply
    #[arg(long)]
    json: bool,
}

/// Renders the conversation and prints its text and ids.
///
/// # Errors
/// If a file cannot be used, or the template refuses the conversation.
pub fn run(args: &RenderArgs, out: &mut impl Write) -> Result<()> {
    let messages: Vec<Value> = list(&args.messages, "messages")?;
    let tools = args.tools.as_deref().map(|path| list(path, "tools")).transpose()?;
    let variables = args.sets.iter().map(|set| variable(set)).collect::<Result<Vec<_>>>()?;
    let format = format::read(&args.model, tools.is_some(), now())?.with_variables(variables);
    let conversation = Conversation { messages, tools, documents: None };
    let Rendered { text, ids } = format
        .render(&conversation, !args.no_generation_prompt)
        .with_context(|| format!("cannot render {}", args.messages.display()))?;
    if args.json {
        writeln!(out, "{}", json!({ "text": text, "ids": ids, "stop_ids": format.stop_tokens() }))?;
        return Ok(());
    }
    writeln!(
        out,
        "{}",
        if std::io::stdout().is_terminal() { in_colour(&text, &format.special_tokens()) } else { text }
    )?;
    writeln!(out, "\n{} tokens: {ids:?}\nends with any of {:?}", ids.len(), format.stop_tokens())?;
    Ok(())
}

fn now() -> Instant {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Instant(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// A file that holds a list of objects.
fn list(path: &Path, what: &str) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let items: Vec<Value> = parsed(&text).with_context(|| format!("{}: not a list of {what}", path.display()))?;
    for (at, item) in items.iter().enumerate() {
        if item.kind() != stateset_chat::ValueKind::Map {
            bail!("{}: item {} is not an object; a list of {what} is wanted", path.display(), at + 1);
        }
        if what == "messages" && item.get_attr("role").ok().is_none_or(|role| role.as_str().is_none()) {
            bail!("{}: message {} has no \"role\", which is a text such as user", path.display(), at + 1);
        }
    }
    Ok(items)
}

fn parsed<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_str(text)
}

fn variable(set: &str) -> Result<(String, Value)> {
    let Some((key, value)) = set.split_once('=').filter(|(key, _)| !key.is_empty()) else {
        bail!("--set {set}: KEY=VALUE is wanted, for instance enable_thinking=false");
    };
    Ok((key.into(), parsed(value).unwrap_or_else(|_| Value::from(value))))
}

/// The text with its special tokens inverted.
fn in_colour(text: &str, specials: &[String]) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(c) = rest.chars().next() {
        let special = specials.iter().filter(|it| rest.starts_with(it.as_str())).map(String::len).max();
        let (piece, after) = rest.split_at(special.unwrap_or(c.len_utf8()));
        match special {
            Some(_) => out.extend(["\u{1b}[7m", piece, "\u{1b}[0m"]),
            None => out.push_str(piece),
        }
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_json_or_else_text() {
        assert_eq!(variable("enable_thinking=false").unwrap(), ("enable_thinking".into(), Value::from(false)));
        assert_eq!(variable("date_string=9 Mar").unwrap(), ("date_string".into(), Value::from("9 Mar")));
        assert!(variable("thinking").unwrap_err().to_string().contains("KEY=VALUE"));
    }

    #[test]
    fn special_tokens_stand_out() {
        assert_eq!(in_colour("<s>é</s>", &["<s>".into()]), "\u{1b}[7m<s>\u{1b}[0mé</s>");
    }
}
