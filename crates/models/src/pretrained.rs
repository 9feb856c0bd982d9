//! A model as a folder in Hugging Face's layout: `config.json`, `model.safetensors`, `tokenizer.json`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stateset_domain::{Artifact, TokenizerError};
use thiserror::Error;

use crate::{
    ConfigError, HfTokenizer, HostWeights, ModelConfig, TensorError, WeightError, read_tensors, write_tensors,
};

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

/// Why a folder is not a model.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is missing from a model that is not a folder.
    #[error("the model has no {0}")]
    Missing(&'static str),
    /// The configuration cannot be run.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights cannot be read.
    #[error("model.safetensors: {0}")]
    Tensors(#[from] TensorError),
    /// The weights do not fit the configuration.
    #[error("model.safetensors: {0}")]
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

const WEIGHTS: &str = "model.safetensors";
const REQUIRED: [&str; 3] = ["config.json", "tokenizer.json", WEIGHTS];
const OPTIONAL: [&str; 4] =
    ["tokenizer_config.json", "chat_template.jinja", "chat_template.json", "generation_config.json"];

impl Pretrained {
    /// Loads the folder `path`.
    ///
    /// # Errors
    /// [`ModelError`], naming the file.
    pub fn from_folder(path: &Path) -> Result<Self, ModelError> {
        let mut files = Vec::new();
        for name in REQUIRED.into_iter().chain(OPTIONAL) {
            let file = path.join(name);
            match fs::read(&file) {
                Ok(bytes) => files.push(Artifact { name: name.into(), bytes }),
                Err(_) if OPTIONAL.contains(&name) && !file.exists() => {}
                Err(source) => return Err(ModelError::Read { path: file, source }),
            }
        }
        Self::from_files(files)
    }

    /// Loads a model from the contents of its files.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn from_files(mut files: Vec<Artifact>) -> Result<Self, ModelError> {
        let find = |name| files.iter().position(|file| file.name == name).ok_or(ModelError::Missing(name));
        let config = &files[find("config.json")?].bytes;
        let config = ModelConfig::from_json(&String::from_utf8_lossy(config))?;
        let tokenizer = HfTokenizer::from_json(&files[find("tokenizer.json")?].bytes)?;
        let weights = files.swap_remove(find(WEIGHTS)?);
        let weights = HostWeights::from_tensors(&config, &read_tensors(&weights.bytes)?)?;
        let (tokens, vocabulary) = (tokenizer.vocab_size(), config.vocab_size);
        if tokens > vocabulary {
            return Err(ModelError::Vocabulary { tokens, vocabulary });
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { weights, tokenizer, files: files.into() })
    }

    /// The files of this model with `weights` in place of its own.
    ///
    /// # Errors
    /// [`TensorError`] if the weights cannot be serialised.
    pub fn to_files(&self, weights: &HostWeights) -> Result<Vec<Artifact>, TensorError> {
        let mut files = self.files.to_vec();
        files.push(Artifact { name: WEIGHTS.into(), bytes: write_tensors(&weights.to_tensors())? });
        Ok(files)
    }
}
