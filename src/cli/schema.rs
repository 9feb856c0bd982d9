//! `stateset schema`: what a run's file may say, for editors.

use std::io::Write;

use anyhow::Result;

use crate::config;

/// Writes the JSON schema of a run's file.
///
/// # Errors
/// Only if `out` cannot be written to.
pub fn run(out: &mut impl Write) -> Result<()> {
    Ok(writeln!(out, "{}", serde_json::to_string_pretty(&config::schema())?)?)
}
