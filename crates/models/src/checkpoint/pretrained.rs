//! A model as its files: configuration, weights, tokenizer, and what travels with them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stateset_domain::{Artifact, NamedTensor, TokenizerError};
use thiserror::Error;

use super::refused::RefusedFormat;
use super::save::{Storage, weight_files};
use super::shards::{Catalog, InFile, Shard, ShardError, agree, read_index};
use super::tensors::{Source, TensorError, TensorFile};
use crate::{ConfigError, HfTokenizer, HostWeights, ModelConfig, WeightError};

/// A loaded model.
#[derive(Clone)]
pub struct Pretrained {
    /// Its weights.
    pub weights: HostWeights,
    /// Its tokenizer.
    pub tokenizer: HfTokenizer,
    /// The files beside the weights, as they were: they go into every checkpoint.
    pub files: Arc<[Artifact]>,
}

/// Why files are not a model.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is missing from a model that is not a folder.
    #[error("the model has no {0}")]
    Missing(&'static str),
    /// The weights are in a format that is not read.
    #[error(transparent)]
    Refused(#[from] RefusedFormat),
    /// The configuration cannot be run.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration needs code that came with the model.
    #[error(
        "config.json names Python code of its own (auto_map: {auto_map}), which other programs run if they are told \
         trust_remote_code; code of a model is never run here, and without it: {source}"
    )]
    RemoteCode {
        /// The classes it names.
        auto_map: String,
        /// Why the configuration cannot be run as one of the architectures that are built in.
        source: ConfigError,
    },
    /// A file of weights cannot be read.
    #[error("{file}: {source}")]
    Tensors {
        /// The file.
        file: String,
        /// Why.
        source: TensorError,
    },
    /// The index of the weights is wrong.
    #[error("{WEIGHTS_INDEX}: {0}")]
    Shards(#[from] ShardError),
    /// The weights do not fit the configuration.
    #[error("the weights are not those of config.json: {0}")]
    Weights(#[from] WeightError),
    /// The tokenizer cannot be read.
    #[error("tokenizer.json: {0}")]
    Tokenizer(#[from] TokenizerError),
    /// The tokenizer has ids that the embedding lacks.
    #[error("tokenizer.json has {tokens} tokens, config.json a vocabulary of only {vocabulary}")]
    Vocabulary {
        /// Ids of the tokenizer.
        tokens: usize,
        /// Rows of the embedding.
        vocabulary: usize,
    },
}

impl From<InFile> for ModelError {
    fn from(InFile { file, source }: InFile) -> Self {
        Self::Tensors { file, source }
    }
}

/// All weights in one file.
pub const WEIGHTS: &str = "model.safetensors";
/// Which tensor is in which file, where there are several.
pub const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
/// Every model has these, and weights.
pub const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
/// What a model may have beside: read or not, programs that are given a checkpoint expect it there.
pub const COMPANIONS: [&str; 10] = [
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
];

impl Pretrained {
    /// Loads the folder `path`.
    ///
    /// # Errors
    /// [`ModelError`], naming the file.
    pub fn from_folder(path: &Path) -> Result<Self, ModelError> {
        let mut files = Vec::new();
        for name in REQUIRED.into_iter().chain(COMPANIONS) {
            let file = path.join(name);
            match fs::read(&file) {
                Ok(bytes) => files.push(Artifact { name: name.into(), bytes }),
                Err(error) if COMPANIONS.contains(&name) && error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(ModelError::Read { path: file, source }),
            }
        }
        Self::new(files, catalog_of(path)?)
    }

    /// Loads a model from the contents of its files.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn from_files(files: Vec<Artifact>) -> Result<Self, ModelError> {
        let open = |name: &str| {
            let file = files.iter().find(|file| file.name == name);
            Ok(file.map(|file| Box::new(Cursor::new(file.bytes.as_slice())) as Box<dyn Source + '_>))
        };
        let catalog = Catalog::new(shards(open)?)?;
        let is_beside = |file: &&Artifact| !file.name.ends_with(".safetensors") && file.name != WEIGHTS_INDEX;
        let beside = files.iter().filter(is_beside).cloned().collect();
        Self::new(beside, catalog)
    }

    fn new(mut files: Vec<Artifact>, catalog: Catalog<'_>) -> Result<Self, ModelError> {
        let find = |name| files.iter().find(|file| file.name == name).ok_or(ModelError::Missing(name));
        let config = configuration(&find("config.json")?.bytes)?;
        let tokenizer = HfTokenizer::from_json(&find("tokenizer.json")?.bytes)?;
        let weights = weights(&config, catalog)?;
        let (tokens, vocabulary) = (tokenizer.vocab_size(), config.vocab_size);
        if tokens > vocabulary {
            return Err(ModelError::Vocabulary { tokens, vocabulary });
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { weights, tokenizer, files: files.into() })
    }

    /// The files of this model with `weights`, by their Hugging Face names, in place of its own, stored as `storage` says.
    ///
    /// # Errors
    /// [`TensorError`] if the weights cannot be serialised.
    pub fn to_files(&self, weights: &[NamedTensor], storage: Storage) -> Result<Vec<Artifact>, TensorError> {
        let mut files = self.files.to_vec();
        files.extend(weight_files(weights, storage)?);
        Ok(files)
    }
}

/// Every tensor of the model in the folder `path`, by name, in f32.
///
/// # Errors
/// [`ModelError`], naming the file and the tensor.
pub fn tensors_of(path: &Path) -> Result<Vec<NamedTensor>, ModelError> {
    Ok(catalog_of(path)?.read_all()?)
}

/// The weights of the model in the folder `path`, which is shaped like `config`.
///
/// # Errors
/// [`ModelError`], naming the file and the tensor.
pub fn weights_of(path: &Path, config: &ModelConfig) -> Result<HostWeights, ModelError> {
    weights(config, catalog_of(path)?)
}

/// Read one tensor at a time: all of them in f32 might not fit beside what becomes of them.
fn weights(config: &ModelConfig, mut catalog: Catalog<'_>) -> Result<HostWeights, ModelError> {
    let names: Vec<String> = catalog.names().map(str::to_string).collect();
    let read = |name: &str| catalog.read(name).map_err(ModelError::from);
    HostWeights::gather(config, names.iter().map(String::as_str), read)
}

fn catalog_of(path: &Path) -> Result<Catalog<'static>, ModelError> {
    Ok(Catalog::new(shards_of(path)?)?)
}

/// The element types that the weights of the model in the folder `path` are stored as, as safetensors names them; U8 is MXFP4.
///
/// # Errors
/// [`ModelError`], naming the file.
pub fn element_types_of(path: &Path) -> Result<BTreeSet<&'static str>, ModelError> {
    let shards = shards_of(path)?;
    Ok(shards.iter().flat_map(|shard| shard.file.entries.values()).map(|entry| entry.dtype.name()).collect())
}

/// The files with the weights of the model in the folder `path`.
fn shards_of(path: &Path) -> Result<Vec<Shard<'static>>, ModelError> {
    let open = |name: &str| -> Result<Option<Box<dyn Source>>, ModelError> {
        let file = path.join(name);
        match File::open(&file) {
            Ok(open) => Ok(Some(Box::new(open))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ModelError::Read { path: file, source }),
        }
    };
    match shards(open) {
        Err(ModelError::Missing(_)) => Err(without_weights(path)),
        opened => opened,
    }
}

/// Reads `config.json`. Code that it names is not needed where the architecture is known.
fn configuration(bytes: &[u8]) -> Result<ModelConfig, ModelError> {
    let text = String::from_utf8_lossy(bytes);
    ModelConfig::from_json(&text).map_err(|source| {
        let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
        match json.as_ref().and_then(|json| json.get("auto_map")) {
            Some(auto_map) => ModelError::RemoteCode { auto_map: auto_map.to_string(), source },
            None => ModelError::Config(source),
        }
    })
}

/// The files of weights that `open` opens by name: one, or those of an index. As in transformers, one goes first.
fn shards<'a>(
    open: impl Fn(&str) -> Result<Option<Box<dyn Source + 'a>>, ModelError>,
) -> Result<Vec<Shard<'a>>, ModelError> {
    let shard = |name: &str, source| match TensorFile::open(source) {
        Ok(file) => Ok(Shard { name: name.into(), file }),
        Err(source) => Err(ModelError::Tensors { file: name.into(), source }),
    };
    let mut shards = Vec::new();
    if let Some(source) = open(WEIGHTS)? {
        shards.push(shard(WEIGHTS, source)?);
    } else {
        let mut index = open(WEIGHTS_INDEX)?.ok_or(ModelError::Missing(WEIGHTS))?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut index, &mut bytes)
            .map_err(|source| ModelError::Read { path: WEIGHTS_INDEX.into(), source })?;
        let index = read_index(&bytes)?;
        for (tensor, name) in &index {
            if shards.iter().all(|shard: &Shard<'_>| shard.name != *name) {
                let missing = || ShardError::Missing { tensor: tensor.clone(), shard: name.clone() };
                shards.push(shard(name, open(name)?.ok_or_else(missing)?)?);
            }
        }
        agree(&index, &shards)?;
    }
    Ok(shards)
}

/// What to say of a folder without safetensors: that it has them in another format, if it has.
fn without_weights(folder: &Path) -> ModelError {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    match names.iter().find_map(|name| RefusedFormat::of(name)) {
        Some(format) => format.into(),
        None => ModelError::Read { path: folder.join(WEIGHTS), source: io::ErrorKind::NotFound.into() },
    }
}
