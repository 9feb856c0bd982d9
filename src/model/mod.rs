//! Finding the model that a configuration names.
//!
//! | Name                                                      | Model                                                      |
//! |-----------------------------------------------------------|------------------------------------------------------------|
//! | `builtin:tiny`                                            | part of the program                                        |
//! | a folder that exists, or a name that begins with `.` `/` `~` | that folder                                             |
//! | `org/name`, `org/name@revision`                           | of the Hugging Face hub, by its cache                      |

mod hub;
mod name;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result};
use stateset_domain::Artifact;
use stateset_models::{HfTokenizer, Pretrained, element_types_of};

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

/// The folder that the files of the model `name` are in; none if it is part of the program. Nothing is downloaded: of a model of the hub,
/// the cached copy is meant.
///
/// # Errors
/// If there is no model of that name, or it is not in the cache.
pub(crate) fn folder(name: &str) -> Result<Option<PathBuf>> {
    Ok(match ModelName::parse(name)? {
        ModelName::Builtin => None,
        ModelName::Folder(folder) => Some(folder),
        ModelName::Hub(repo) => Some(Hub::from_env()?.cached(&repo)?),
    })
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
    let folder = match ModelName::parse(name)? {
        ModelName::Builtin => {
            let files = TINY.iter().map(|(name, bytes)| Artifact { name: (*name).into(), bytes: bytes.to_vec() });
            return Ok(Pretrained::from_files(files.collect())?);
        }
        ModelName::Folder(folder) => folder,
        ModelName::Hub(repo) => Hub::from_env()?.fetch(&repo)?,
    };
    Pretrained::from_folder(&folder).with_context(|| format!("cannot load the model {name}"))
}
