//! `stateset doctor`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::doctor::{Diagnosis, Facts};

/// Options of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Folder that is to hold the runs' folders
    #[arg(long, default_value = "runs")]
    output_dir: PathBuf,
    /// Also look at a model and try it out: `builtin:tiny`, a folder, or `org/name` of the Hugging Face hub
    #[arg(long)]
    model: Option<String>,
    /// As JSON, with what was looked up
    #[arg(long)]
    json: bool,
}

/// Says of this machine, and of a model, what there is and what is used of it; fails if there is a problem.
///
/// # Errors
/// Only if `out` cannot be written to.
pub fn run(args: &DoctorArgs, out: &mut impl Write) -> Result<ExitCode> {
    let diagnosis = Diagnosis::of(Facts::look(&args.output_dir, args.model.as_deref()));
    if args.json {
        writeln!(out, "{}", diagnosis.to_json())?;
    } else {
        write!(out, "{diagnosis}")?;
    }
    Ok(if diagnosis.problems() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
