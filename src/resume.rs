//! What a run's folder says it is, so that it is only ever resumed as itself.

use std::fs;

use anyhow::{Context, Result};
use stateset_domain::{Checkpoint, Store};
use stateset_training::CheckpointFolder;

use crate::cli::errors::AnotherRun;
use crate::config::{Config, Fingerprint};
use crate::run_folder::{RunFiles, write_whole};

/// A run as recorded in its folder.
pub struct Recorded {
    /// Its configuration.
    pub config: Config,
    /// Its domain's file, if it was run in one.
    pub domain: Option<String>,
}

impl Recorded {
    /// Reads what `files` records.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn of(files: &RunFiles) -> Result<Self> {
        let path = files.config();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let config = serde_saphyr::from_str(&text).with_context(|| format!("cannot use {}", path.display()))?;
        Ok(Self { config, domain: fs::read_to_string(files.domain()).ok() })
    }

    /// The newest checkpoint in `files`, its checksums verified; `None` if the run has not come that far.
    ///
    /// # Errors
    /// If it cannot be read, or is damaged.
    pub(crate) fn checkpoint(files: &RunFiles) -> Result<Option<Checkpoint>> {
        let folder = files.checkpoints();
        if !folder.is_dir() {
            return Ok(None);
        }
        CheckpointFolder::reader(folder)
            .latest()
            .context("cannot use the newest checkpoint (if its folder is removed, the one before it counts)")
    }

    /// Records a new run.
    pub(crate) fn write(files: &RunFiles, config: &Config, domain: Option<&str>) -> Result<()> {
        if let Some(domain) = domain {
            write_whole(&files.domain(), domain)?;
        }
        Ok(write_whole(&files.config(), &config.to_yaml())?)
    }

    /// Refuses to go on as another run.
    ///
    /// # Errors
    /// [`AnotherRun`], naming every setting that differs.
    pub(crate) fn check(&self, files: &RunFiles, config: &Config, domain: Option<&str>) -> Result<()> {
        let recorded = fingerprint(&self.config, self.domain.as_deref());
        let differences = Fingerprint::differences(&recorded, &fingerprint(config, domain));
        if differences.is_empty() {
            return Ok(());
        }
        Err(AnotherRun { folder: files.folder().to_path_buf(), differences }.into())
    }
}

fn fingerprint(config: &Config, domain: Option<&str>) -> Fingerprint {
    let digest = domain.map_or_else(|| "none".to_owned(), |text| stateset_domain::sha256_hex(text.as_bytes()));
    config.fingerprint().with("environment.domain", digest)
}
