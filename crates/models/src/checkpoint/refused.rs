//! Weights that are not read, and what to do instead.

use thiserror::Error;

/// Weights in a format that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RefusedFormat {
    /// Python's pickles are programs: reading one runs it.
    #[error(
        "{0} is pickled, and reading a pickle runs whatever code is in it. Where you trust it, convert it once: python3 -c \
         \"from transformers import AutoModelForCausalLM as M; M.from_pretrained('FOLDER').save_pretrained('FOLDER')\""
    )]
    Pickle(String),
    /// Made for llama.cpp, mostly in a few bits.
    #[error(
        "{0} is GGUF, which is for llama.cpp and cannot be trained: take the model's safetensors, which it was made from"
    )]
    Gguf(String),
}

impl RefusedFormat {
    /// What the file called `name` is, if it is refused.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let (stem, ending) = name.rsplit_once('.')?;
        match ending {
            "bin" if stem.starts_with("pytorch_model") => Some(Self::Pickle(name.into())),
            "pt" | "pth" | "pkl" | "pickle" => Some(Self::Pickle(name.into())),
            "gguf" => Some(Self::Gguf(name.into())),
            _ => None,
        }
    }
}
