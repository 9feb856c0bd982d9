//! `stateset inspect RUN`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::RunFolder;
use crate::inspect::{Form, look};

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// Clears a terminal, and goes to its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Options of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The run's folder
    run: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Look again every second, until interrupted
    #[arg(long)]
    watch: bool,
}

/// Looks into a run.
///
/// # Errors
/// If there is no such run, or its process does not answer.
pub fn run(args: &InspectArgs, out: &mut impl Write) -> Result<()> {
    let files = RunFolder::inspect(&args.run)?;
    let form = if args.json { Form::Json } else { Form::Text };
    loop {
        let seen = look(&files, form)?;
        if args.watch && !args.json {
            write!(out, "{CLEAR}")?;
        }
        write!(out, "{seen}")?;
        out.flush()?;
        if !args.watch {
            return Ok(());
        }
        std::thread::sleep(PERIOD);
    }
}
