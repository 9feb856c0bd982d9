//! `stateset export RUN`: what a run has learnt, as a folder that other programs load.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use stateset_domain::Artifact;
use stateset_models::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, COMPANIONS, HostAdapter, REQUIRED, Storage, StoredDtype};

use crate::resume::Recorded;
use crate::run_folder::write_whole;
use crate::{RunFolder, model};

/// Options of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The run's folder
    run: PathBuf,
    /// The folder to write, which must not exist
    #[arg(long, value_name = "FOLDER")]
    output_dir: PathBuf,
    /// Make an adapter part of the weights; without, it is written as PEFT keeps it
    #[arg(long)]
    merge: bool,
    /// Element type of the weights
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dtype {
    /// Exact
    F32,
    /// Half the size
    Bf16,
}

/// Exports.
///
/// # Errors
/// If the folder holds no run with a checkpoint, or the output cannot be written.
pub fn run(args: &ExportArgs, out: &mut impl Write) -> Result<()> {
    let folder = &args.output_dir;
    if folder.exists() {
        bail!("{} exists already", folder.display());
    }
    let files = RunFolder::inspect(&args.run)?;
    let recorded = Recorded::of(&files)?;
    let checkpoint = Recorded::checkpoint(&files)?;
    let checkpoint = checkpoint.with_context(|| format!("{} has no checkpoint yet", args.run.display()))?;
    let is_adapter = checkpoint.artifacts.iter().any(|file| file.name == ADAPTER_WEIGHTS);
    let made = if is_adapter && !args.merge {
        if args.dtype != Dtype::F32 {
            bail!("an adapter is written in f32; --dtype is for whole weights, which --merge writes");
        }
        adapter(&checkpoint.artifacts, &recorded.config.agent.model)?
    } else {
        whole(checkpoint.artifacts, args.dtype)?
    };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for file in &made {
        write_whole(&folder.join(&file.name), &file.bytes)?;
    }
    let bytes: usize = made.iter().map(|file| file.bytes.len()).sum();
    let what = if is_adapter && !args.merge { "the adapter" } else { "the policy" };
    let step = checkpoint.progress.step;
    writeln!(out, "{}: {what} of step {step}, {} files, {:.1} MB", folder.display(), made.len(), bytes as f64 / 1e6)?;
    Ok(())
}

/// The adapter in a checkpoint, for `base`.
fn adapter(artifacts: &[Artifact], base: &str) -> Result<Vec<Artifact>> {
    let config =
        artifacts.iter().find(|file| file.name == "config.json").context("the checkpoint has no config.json")?;
    let model = stateset_models::ModelConfig::from_json(&String::from_utf8_lossy(&config.bytes))?;
    let held: Vec<Artifact> =
        artifacts.iter().filter(|file| [ADAPTER_CONFIG, ADAPTER_WEIGHTS].contains(&&*file.name)).cloned().collect();
    Ok(HostAdapter::from_files(&model, &held)?.to_files(base)?)
}

/// The weights in a checkpoint, an adapter made part of them, and what belongs to a model beside.
fn whole(artifacts: Vec<Artifact>, dtype: Dtype) -> Result<Vec<Artifact>> {
    let policy = model::of_checkpoint(artifacts)?;
    let (stored, name) = match dtype {
        Dtype::F32 => (StoredDtype::F32, "float32"),
        Dtype::Bf16 => (StoredDtype::Bf16, "bfloat16"),
    };
    let mut files = policy.to_files(&policy.weights.to_tensors(), Storage { dtype: stored, ..Storage::default() })?;
    let known = |file: &Artifact| REQUIRED.iter().chain(&COMPANIONS).any(|name| file.name == *name);
    files.retain(|file| known(file) || file.name.starts_with("model"));
    for file in files.iter_mut().filter(|file| file.name == "config.json") {
        file.bytes = stored_as(&file.bytes, name)?;
    }
    Ok(files)
}

/// A `config.json` that says how its weights are stored now.
fn stored_as(config: &[u8], dtype: &str) -> Result<Vec<u8>> {
    let mut config: Value = serde_json::from_slice(config).context("config.json")?;
    if let Some(fields) = config.as_object_mut() {
        fields.remove("quantization_config");
        let key = if fields.contains_key("dtype") { "dtype" } else { "torch_dtype" };
        fields.insert(key.into(), json!(dtype));
    }
    Ok(serde_json::to_vec_pretty(&config)?)
}
