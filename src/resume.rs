//! What a run's folder says it is, so that it is only ever resumed as itself.

use std::fs;

use anyhow::{Context, Result};
use stateset_domain::{Checkpoint, Store};
use stateset_training::CheckpointFolder;

use crate::cli::errors::AnotherRun;
use crate::config::{Config, Fingerprint};
use crate::run_folder::{RunFiles, RunFolder, write_whole};

/// A run as recorded in its folder.
pub struct Recorded {
    /// Its configuration.
    pub config: Config,
    /// Its domain's file, if it was run in one.
    pub domain: Option<String>,
    /// The digest of the file it learned from, if there was one.
    pub data: Option<String>,
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
        let read = |path| fs::read_to_string(path).ok();
        Ok(Self { config, domain: read(files.domain()), data: read(files.data()).map(|text| text.trim().to_owned()) })
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

    /// What determines its result.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.config, self.domain.as_deref(), self.data.as_deref())
    }

    /// Records a new run.
    fn write(files: &RunFiles, config: &Config, domain: Option<&str>, data: Option<&str>) -> Result<()> {
        if let Some(domain) = domain {
            write_whole(&files.domain(), domain)?;
        }
        if let Some(digest) = data {
            write_whole(&files.data(), &format!("{digest}\n"))?;
        }
        Ok(write_whole(&files.config(), &config.to_yaml())?)
    }

    /// Refuses to go on as another run.
    ///
    /// # Errors
    /// [`AnotherRun`], naming every setting that differs.
    fn check(&self, files: &RunFiles, config: &Config, domain: Option<&str>, data: Option<&str>) -> Result<()> {
        let differences = Fingerprint::differences(&self.fingerprint(), &fingerprint(config, domain, data));
        if differences.is_empty() {
            return Ok(());
        }
        Err(AnotherRun { folder: files.folder().to_path_buf(), differences }.into())
    }
}

/// The folder of a run: the newest of its name, if it is to be resumed and there is one, or else a new one.
pub(crate) fn folder(config: &Config, resume: bool, domain: Option<&str>, data: Option<&str>) -> Result<RunFolder> {
    let (parent, name) = (&config.run.output_dir, &config.run.name);
    if resume && let Some(folder) = RunFolder::newest(parent, name)? {
        Recorded::of(&folder.files())?.check(&folder.files(), config, domain, data)?;
        // Read again by the learner; but what is damaged is told before anything is started.
        Recorded::checkpoint(&folder.files())?;
        return Ok(folder);
    }
    let folder = RunFolder::create(parent, name)?;
    Recorded::write(&folder.files(), config, domain, data)?;
    Ok(folder)
}

fn fingerprint(config: &Config, domain: Option<&str>, data: Option<&str>) -> Fingerprint {
    let digest = domain.map_or_else(|| "none".to_owned(), |text| stateset_domain::sha256_hex(text.as_bytes()));
    let fingerprint = config.fingerprint().with("environment.domain", digest);
    match (config.training.data(), data) {
        (Some((key, _)), Some(digest)) => fingerprint.with(key, digest),
        _ => fingerprint,
    }
}
