//! `stateset score`.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use stateset_domain::Tokenizer;

use crate::model;
use crate::score::{Scores, score};

/// Options of `score`.
#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// `builtin:tiny`, a model's folder, or `org/name` of the Hugging Face hub
    #[arg(long)]
    model: String,
    /// The ids of a sequence, such as `1,2,3`
    #[arg(long, value_name = "IDS", value_delimiter = ',', required = true, value_parser = id)]
    tokens: Vec<u32>,
    /// How many of the largest logits after each token are told
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

fn id(text: &str) -> Result<u32, String> {
    let whole = || format!("a token is a whole number from 0 to {}", u32::MAX);
    text.trim().parse().map_err(|_| whole())
}

/// Tells what a model makes of a sequence of tokens.
///
/// # Errors
/// If there is no such model, or the tokens are not its.
pub fn run(args: &ScoreArgs, out: &mut impl Write) -> Result<()> {
    let model = model::load(&args.model)?;
    let scores = score(&model, &args.tokens, args.top)?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&scores)?)?;
    } else {
        write!(out, "{}", table(&scores, &model.tokenizer))?;
    }
    Ok(())
}

fn table(scores: &Scores, tokenizer: &dyn Tokenizer) -> String {
    let heads = ["at", "id", "text", "log-prob"].map(str::to_owned);
    let mut rows = vec![(heads, "largest logits after it".to_owned())];
    for (at, (id, (log_prob, top))) in scores.tokens.iter().zip(scores.log_probs.iter().zip(&scores.top)).enumerate() {
        // Ids that have no text of their own, or are not the tokenizer's, show none.
        let text = tokenizer.decode(&[*id]).map_or_else(|_| String::new(), |text| format!("{text:?}"));
        let log_prob = log_prob.map_or_else(|| "-".to_owned(), |log_prob| format!("{log_prob:.5}"));
        let top: Vec<String> = top.iter().map(|it| format!("{} {:.5}", it.id, it.logit)).collect();
        rows.push(([at.to_string(), id.to_string(), text, log_prob], top.join(", ")));
    }
    let width = |column: usize| rows.iter().map(|(cells, _)| cells[column].chars().count()).max().unwrap_or(0);
    let [at, id, text, log_prob] = [0, 1, 2, 3].map(width);
    let line = |(cells, top): &([String; 4], String)| {
        let [a, b, c, d] = cells;
        format!("{a:>at$}  {b:>id$}  {c:<text$}  {d:>log_prob$}  {top}").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
