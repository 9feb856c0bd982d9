//! How a command that cannot go on says so.

use std::path::PathBuf;
use std::process::ExitCode;

use stateset_training::NothingFits;
use thiserror::Error;

use crate::KeyMissing;
use crate::bench;
use crate::config::{Difference, Problems};
use crate::model::UnknownName;
use crate::run_folder::RunFolderError;
use crate::score::ScoreError;

/// Something broke.
const FAILED: u8 = 1;
/// What was asked for makes no sense: nothing was started.
const REFUSED: u8 = 2;

/// A run's folder holds another run than the one that is to go on in it.
#[derive(Debug, Error)]
#[error("{} was started with another configuration:\n{}", .folder.display(), list(.differences))]
pub struct AnotherRun {
    /// The folder.
    pub folder: PathBuf,
    /// In what they differ.
    pub differences: Vec<Difference>,
}

fn list(differences: &[Difference]) -> String {
    let lines: Vec<String> = differences.iter().map(|difference| format!("  {difference}")).collect();
    lines.join("\n")
}

/// Prints `error` to standard error, causes included, and names the exit code: 2 if nothing was started because what was asked for
/// makes no sense, 1 otherwise.
#[must_use]
pub fn exit(error: &anyhow::Error) -> ExitCode {
    eprintln!("{}", told(error));
    ExitCode::from(code(error))
}

fn told(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Problems>() {
        Some(problems) => problems.to_string(),
        None => format!("error: {error:#}"),
    }
}

fn code(error: &anyhow::Error) -> u8 {
    let refused = match error.downcast_ref::<RunFolderError>() {
        Some(RunFolderError::InUse(_) | RunFolderError::NotARun(_)) => true,
        Some(RunFolderError::Io { .. }) => false,
        None => {
            error.is::<Problems>()
                || error.is::<AnotherRun>()
                || error.is::<KeyMissing>()
                || error.is::<bench::Refused>()
                || error.is::<UnknownName>()
                || error.is::<NothingFits>()
                || matches!(error.downcast_ref(), Some(ScoreError::Token { .. } | ScoreError::TooLong { .. }))
        }
    };
    if refused { REFUSED } else { FAILED }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_refusal_is_told_from_a_failure() {
        let difference = Difference { key: "run.seed".into(), recorded: "0".into(), now: "4".into() };
        let refusal = anyhow::Error::new(AnotherRun { folder: "runs/night".into(), differences: vec![difference] });
        let wanted = "error: runs/night was started with another configuration:\n  run.seed was 0 and is now 4";
        assert_eq!((told(&refusal).as_str(), code(&refusal)), (wanted, REFUSED));
        assert_eq!(code(&RunFolderError::InUse("runs/night".into()).into()), REFUSED);
        let failure = anyhow!("disk full").context("cannot save");
        assert_eq!((told(&failure).as_str(), code(&failure)), ("error: cannot save: disk full", FAILED));
    }
}
