//! Finding the model that a configuration names.

use std::path::Path;

use anyhow::{Context, Result};
use stateset_domain::Artifact;
use stateset_models::{HfTokenizer, Pretrained};

/// The policy that is part of the program, made by `stateset pretrain config/pretrain-tiny.yaml`.
const TINY: [(&str, &[u8]); 4] = [
    ("config.json", include_bytes!("../assets/tiny/config.json")),
    ("model.safetensors", include_bytes!("../assets/tiny/model.safetensors")),
    ("tokenizer.json", include_bytes!("../assets/tiny/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../assets/tiny/tokenizer_config.json")),
];

/// Name of the built-in policy.
pub const BUILTIN: &str = "builtin:tiny";

/// The tokenizer of `builtin:tiny`, or of the folder `name`.
///
/// # Errors
/// If there is none, or it cannot be used.
pub fn tokenizer(name: &str) -> Result<HfTokenizer> {
    if name == BUILTIN {
        return Ok(HfTokenizer::from_json(TINY[2].1)?);
    }
    let path = Path::new(name).join("tokenizer.json");
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(HfTokenizer::from_json(&bytes)?)
}

/// Loads `builtin:tiny`, or the folder `name`.
///
/// # Errors
/// If there is no such model, or it cannot be used.
pub fn load(name: &str) -> Result<Pretrained> {
    if name == BUILTIN {
        let files = TINY.iter().map(|(name, bytes)| Artifact { name: (*name).into(), bytes: bytes.to_vec() });
        return Ok(Pretrained::from_files(files.collect())?);
    }
    Pretrained::from_folder(Path::new(name)).with_context(|| format!("cannot load the model {name}"))
}
