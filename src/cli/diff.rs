//! `stateset diff OLD NEW`: what it would take to go on with another configuration.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::validate;
use crate::config::{Change, Config, Effect, Problems};
use crate::topology::{Blueprint, Kinds};

/// Something differs that a running run cannot take over.
const NOT_APPLICABLE: u8 = 3;

/// Options of `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The YAML file of the run as it is; the `config.yaml` in a run's folder is one
    old: PathBuf,
    /// The YAML file of the run as it should be
    new: PathBuf,
    /// Replace one value of the new one, by its path; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

/// Writes every key that differs, with what it takes, and names the exit code: 0 if a running run can take all of it over, 3 if not.
///
/// # Errors
/// [`Problems`] if one of them cannot be run.
pub fn run(args: &DiffArgs, out: &mut impl Write) -> Result<ExitCode> {
    let kinds = Kinds::default();
    let old = validate::check(&args.old, &[], &kinds)?;
    let mut new = validate::check(&args.new, &args.sets, &kinds)?;
    if is_named_by(&old, &args.old) && is_named_by(&new, &args.new) {
        new.run.name.clone_from(&old.run.name);
    }
    let blueprint = Blueprint::of(&old, &kinds).map_err(|problems| Problems { file: args.old.clone(), problems })?;
    let mut changes = Change::between(&old, &new, |kind| blueprint.named(kind));
    changes.extend(domain(&old, &new)?);
    let width =
        |text: fn(&Change) -> &str| changes.iter().map(|change| text(change).chars().count()).max().unwrap_or(0);
    let (keys, from, to) = (width(|it| &it.key), width(|it| &it.from), width(|it| &it.to));
    for Change { key, from: before, to: after, effect } in &changes {
        writeln!(out, "{key:keys$}  {before:>from$} -> {after:to$}  {effect}")?;
    }
    let applicable = changes.iter().all(|change| change.effect.is_applicable());
    Ok(if applicable { ExitCode::SUCCESS } else { ExitCode::from(NOT_APPLICABLE) })
}

/// Whether the run has no name but its file's, which says nothing about the run.
fn is_named_by(config: &Config, file: &Path) -> bool {
    file.file_stem().is_some_and(|stem| stem.to_string_lossy() == config.run.name)
}

/// A domain counts by its contents, wherever its file is.
fn domain(old: &Config, new: &Config) -> Result<Option<Change>> {
    let digest = |config: &Config| -> Result<String> {
        Ok(stateset_domain::sha256_hex(&std::fs::read(&config.environment.domain)?).chars().take(12).collect())
    };
    let (from, to) = (digest(old)?, digest(new)?);
    let change = Change { key: "environment.domain (contents)".into(), from, to, effect: Effect::AnotherRun };
    Ok((change.from != change.to).then_some(change))
}
