//! Finding the model that a configuration names.
//!
//! | Name                                                      | Model                                                      |
//! |-----------------------------------------------------------|------------------------------------------------------------|
//! | `builtin:tiny`                                            | part of the program                                        |
//! | a folder that exists, or a name that begins with `.` `/` `~` | that folder                                             |
//! | `org/name`, `org/name@revision`                           | of the Hugging Face hub, by its cache                      |
//!
//! A folder may hold an adapter in PEFT's format in place of a whole model: then the model that it names is meant, with the adapter in it.

mod adapted;
mod hub;
mod name;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result};
use stateset_domain::Artifact;
use stateset_models::{ADAPTER_WEIGHTS, HfTokenizer, Pretrained, element_types_of};

use adapted::{adapted, adapter_in, base_of};
use hub::Hub;
pub(crate) use name::{FORMS, ModelName, UnknownName};

/// The policy that is part of the program, made by `stateset pretrain config/pretrain-tiny.yaml`.
const TINY: [(&str, &[u8]); 4] = [
    ("config.json", include_bytes!("../../assets/tiny/config.json")),
    ("model.safetensors", include_bytes!("../../assets/tiny/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../assets/tiny/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../assets/tiny/tokenizer_config.json")),
];

/// Name of the built-in policy.
pub const BUILTIN: &str = "builtin:tiny";

/// The folder that the files of the model `name` are in, of an adapter those of what it adapts; none if it is part of the program. Nothing
/// is downloaded: of a model of the hub, the cached copy is meant.
///
/// # Errors
/// If there is no model of that name, or it is not in the cache.
pub(crate) fn folder(name: &str) -> Result<Option<PathBuf>> {
    folder_behind(name, 0)
}

fn folder_behind(name: &str, depth: usize) -> Result<Option<PathBuf>> {
    Ok(match ModelName::parse(name)? {
        ModelName::Builtin => None,
        ModelName::Folder(folder) => match adapter_in(&folder)? {
            None => Some(folder),
            Some(files) => folder_behind(&base_of(&files, depth)?, depth + 1)?,
        },
        ModelName::Hub(repo) => Some(Hub::from_env()?.cached(&repo)?),
    })
}

/// `name` as it can be said from anywhere: that of a folder, from the root.
pub(crate) fn absolute(name: &str) -> String {
    let there = |folder: PathBuf| Some(std::path::absolute(folder).ok()?.to_string_lossy().into_owned());
    let found = match ModelName::parse(name) {
        Ok(ModelName::Folder(folder)) => there(folder),
        _ => None,
    };
    found.unwrap_or_else(|| name.into())
}

/// The tokenizer of the model `name`. Nothing is downloaded for it: of a model of the hub, the cached copy is meant.
///
/// # Errors
/// If there is none, or it cannot be used.
pub fn tokenizer(name: &str) -> Result<HfTokenizer> {
    let Some(folder) = folder(name)? else { return Ok(HfTokenizer::from_json(TINY[2].1)?) };
    let path = folder.join("tokenizer.json");
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(HfTokenizer::from_json(&bytes)?)
}

/// The element types that the weights of the model `name` are stored as, as safetensors names them. Nothing is downloaded for it.
///
/// # Errors
/// If there is no such model, or its files cannot be read.
pub(crate) fn element_types(name: &str) -> Result<BTreeSet<&'static str>> {
    let Some(folder) = folder(name)? else { return Ok(BTreeSet::from(["F32"])) };
    Ok(element_types_of(&folder)?)
}

/// Loads the model `name`; one of the hub is downloaded first, unless it is in the cache.
///
/// # Errors
/// If there is no such model, or it cannot be used.
pub fn load(name: &str) -> Result<Pretrained> {
    load_behind(name, 0)
}

/// Loads the model of a checkpoint. One that holds an adapter names the model that it was learnt on, which is loaded.
///
/// # Errors
/// If a file is wrong, or that model cannot be loaded or is another by now.
pub fn of_checkpoint(files: Vec<Artifact>) -> Result<Pretrained> {
    if files.iter().any(|file| file.name == ADAPTER_WEIGHTS) {
        return behind(&files, 0);
    }
    Ok(Pretrained::from_files(files)?)
}

/// The model that the adapter of `files` is for, with it.
fn behind(files: &[Artifact], depth: usize) -> Result<Pretrained> {
    let base = base_of(files, depth)?;
    let of_base = || format!("cannot load {base}, which the adapter is for");
    adapted(load_behind(&base, depth + 1).with_context(of_base)?, files).with_context(of_base)
}

fn load_behind(name: &str, depth: usize) -> Result<Pretrained> {
    let folder = match ModelName::parse(name)? {
        ModelName::Builtin => {
            let files = TINY.iter().map(|(name, bytes)| Artifact { name: (*name).into(), bytes: bytes.to_vec() });
            return Ok(Pretrained::from_files(files.collect())?);
        }
        ModelName::Folder(folder) => folder,
        ModelName::Hub(repo) => Hub::from_env()?.fetch(&repo)?,
    };
    let loaded = match adapter_in(&folder)? {
        Some(files) => behind(&files, depth),
        None => Pretrained::from_folder(&folder).map_err(Into::into),
    };
    loaded.with_context(|| format!("cannot load the model {name}"))
}
