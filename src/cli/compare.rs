//! `stateset compare RUN...`: several runs side by side.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use stateset_telemetry::MetricsLog;

use crate::config::Fingerprint;
use crate::report::{Comparison, Recipe, Run, Summary};
use crate::resume::Recorded;
use crate::run_folder::{RunFolder, write_whole};
use crate::runtime::read_result;

/// Options of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The runs' folders; runs that differ in their seed only are one recipe
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Also draw their curves: on a page of its own, or as a picture if the file's name ends in .svg
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
}

/// Writes what each recipe came to.
///
/// # Errors
/// If a folder is no run's, or its run was not finished.
pub fn run(args: &CompareArgs, out: &mut impl Write) -> Result<()> {
    let mut recipes: Vec<(Fingerprint, Recipe)> = Vec::new();
    for path in &args.runs {
        let files = RunFolder::inspect(path)?;
        let recorded = Recorded::of(&files)?;
        let Summary { seed, steps, wall_seconds: seconds, base, trained, .. } = read_result(&files)?;
        let (Some(base), Some(trained)) = (base, trained) else { bail!("{} has not been finished", path.display()) };
        let run = Run { seed, steps, seconds, base, trained, rows: MetricsLog::read(&files.metrics())? };
        let (fingerprint, name) = (recorded.fingerprint().without("run.seed"), recorded.config.run.name);
        match recipes.iter_mut().find(|(other, recipe)| *other == fingerprint && recipe.name == name) {
            Some((_, recipe)) => recipe.runs.push(run),
            None => recipes.push((fingerprint, Recipe { name, runs: vec![run] })),
        }
    }
    let comparison = Comparison(recipes.into_iter().map(|(_, recipe)| recipe).collect());
    write!(out, "{}", comparison.table())?;
    if let Some(path) = &args.output_file {
        let picture = path.extension().is_some_and(|ending| ending == "svg");
        write_whole(path, &if picture { comparison.picture() } else { comparison.render() })?;
        writeln!(out, "\n  curves  {}", path.display())?;
    }
    Ok(())
}
