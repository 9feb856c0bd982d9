//! Adapters in place of whole models: a folder of PEFT's, or a checkpoint of a run that learns one.

use std::path::Path;

use anyhow::{Context, Result, bail};
use stateset_domain::Artifact;
use stateset_models::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, HostAdapter, Pretrained, WEIGHTS, WEIGHTS_INDEX};
use stateset_training::adapted_base;

/// Adapters on adapters, at most.
const DEPTH: usize = 8;

/// The files of the adapter in `folder`, if it holds one and no whole model.
///
/// # Errors
/// If a file is there and cannot be read.
pub(super) fn adapter_in(folder: &Path) -> Result<Option<Vec<Artifact>>> {
    let there = |name: &str| folder.join(name).exists();
    if !there(ADAPTER_CONFIG) || there(WEIGHTS) || there(WEIGHTS_INDEX) {
        return Ok(None);
    }
    let read = |name: &str| {
        let path = folder.join(name);
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Artifact { name: name.into(), bytes })
    };
    [ADAPTER_CONFIG, ADAPTER_WEIGHTS].into_iter().map(read).collect::<Result<_>>().map(Some)
}

/// The name of the model that an adapter is for. `depth` adapters have led here.
///
/// # Errors
/// If it names none, or too many have.
pub(super) fn base_of(files: &[Artifact], depth: usize) -> Result<String> {
    if depth >= DEPTH {
        bail!("it is an adapter of an adapter, {DEPTH} times over");
    }
    let config = files.iter().find(|file| file.name == ADAPTER_CONFIG);
    let config = config.with_context(|| format!("the adapter has no {ADAPTER_CONFIG}"))?;
    let json: serde_json::Value = serde_json::from_slice(&config.bytes).context(ADAPTER_CONFIG)?;
    let name = json.get("base_model_name_or_path").and_then(|name| name.as_str()).filter(|name| !name.is_empty());
    Ok(name.with_context(|| format!("{ADAPTER_CONFIG} names no base_model_name_or_path"))?.to_string())
}

/// `base` with the adapter of `files` made part of its weights.
///
/// # Errors
/// If it is of another model, or was learnt on other weights.
pub(super) fn adapted(base: Pretrained, files: &[Artifact]) -> Result<Pretrained> {
    if adapted_base(files)?.is_some_and(|digest| digest != base.weights.digest()) {
        bail!("its weights are not those that the adapter was learnt on");
    }
    let adapter = HostAdapter::from_files(&base.weights.config, files)?;
    Ok(Pretrained { weights: adapter.merged(&base.weights), ..base })
}
