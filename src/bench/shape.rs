//! What is measured: a decoder of a known shape, or one's own.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};
use stateset_domain::Stream;
use stateset_models::{HostWeights, LlamaConfig, ModelConfig, Pretrained, WEIGHTS, WEIGHTS_INDEX, weights_of};

use super::Refused;
use crate::config::{nearest, quoted};
use crate::model;

/// Standard deviation of random weights, as GPT-2's are initialised.
const STD: f64 = 0.02;

/// A decoder to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One of [`KNOWN`], by its letter, with random weights.
    Known(&'static Known),
    /// A folder with a `config.json`, and with weights or without.
    Folder(PathBuf),
}

/// Dimensions by a letter. All tie the head to the embedding and have 2048 positions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Known {
    letter: &'static str,
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    intermediate: usize,
    vocabulary: usize,
}

/// A toy of 3 million weights, a small model of 25 million, and SmolLM2-135M's shape.
static KNOWN: [Known; 3] = [
    Known { letter: "A", hidden: 256, layers: 4, heads: 4, kv_heads: 2, intermediate: 688, vocabulary: 512 },
    Known { letter: "B", hidden: 512, layers: 8, heads: 8, kv_heads: 4, intermediate: 1376, vocabulary: 4096 },
    Known { letter: "C", hidden: 576, layers: 30, heads: 9, kv_heads: 3, intermediate: 1536, vocabulary: 49152 },
];

impl Known {
    fn config(&self) -> LlamaConfig {
        LlamaConfig {
            architectures: vec!["LlamaForCausalLM".into()],
            model_type: "llama".into(),
            vocab_size: self.vocabulary,
            hidden_size: self.hidden,
            intermediate_size: self.intermediate,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.kv_heads,
            max_position_embeddings: 2048,
            rms_norm_eps: 1e-5,
            rope_theta: 1e4,
            tie_word_embeddings: true,
            hidden_act: "silu".into(),
            attention_bias: false,
            mlp_bias: false,
            rope_scaling: None,
            eos_token_id: 0,
            torch_dtype: "float32".into(),
        }
    }
}

impl FromStr for Shape {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        if let Some(known) = KNOWN.iter().find(|known| known.letter == text) {
            return Ok(Self::Known(known));
        }
        let path = Path::new(text);
        if is_model(path) {
            return Ok(Self::Folder(path.into()));
        }
        let letters = KNOWN.each_ref().map(|known| known.letter);
        let letter = letters.iter().find(|letter| letter.eq_ignore_ascii_case(text)).map(|letter| (*letter).to_owned());
        let meant = letter.or_else(|| neighbour(path)).map(|meant| format!("; `{meant}` was probably meant"));
        let (allowed, meant) = (quoted(&letters), meant.unwrap_or_default());
        Err(Refused(format!("it may be {allowed}, or a folder with a config.json, which `{text}` is not{meant}")))
    }
}

fn is_model(folder: &Path) -> bool {
    folder.join("config.json").is_file()
}

/// The model beside `path` whose name is most like it.
fn neighbour(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folders = std::fs::read_dir(parent).ok()?.flatten().map(|entry| entry.path()).filter(|path| is_model(path));
    let names: Vec<String> = folders.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
    let meant = nearest(name, names.iter().map(String::as_str))?;
    Some(path.with_file_name(meant).display().to_string())
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(known) => f.write_str(known.letter),
            Self::Folder(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Shape {
    /// Its dimensions.
    pub(crate) fn config(&self) -> Result<ModelConfig> {
        match self {
            Self::Known(known) => Ok(known.config().decoder()?),
            Self::Folder(path) => {
                let path = path.join("config.json");
                let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                Ok(ModelConfig::from_json(&text)?)
            }
        }
    }

    /// A decoder of these dimensions. Its weights are the folder's, if it has any, and otherwise random. It never reads or writes text, so
    /// the tokenizer is the built-in policy's, whatever the vocabulary.
    pub(crate) fn model(&self, config: &ModelConfig, seed: u64) -> Result<Pretrained> {
        let has_weights = |path: &&PathBuf| [WEIGHTS, WEIGHTS_INDEX].iter().any(|name| path.join(name).exists());
        let folder = match self {
            Self::Folder(path) => Some(path).filter(has_weights),
            Self::Known(_) => None,
        };
        let weights = match folder {
            None => HostWeights::random(config, STD, Stream::new(seed)),
            Some(folder) => weights_of(folder, config).with_context(|| format!("cannot use {}", folder.display()))?,
        };
        Ok(Pretrained { weights, tokenizer: model::tokenizer(model::BUILTIN)?, files: Vec::new().into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_the_sizes_they_are_known_for() {
        let millions = |letter: &str| {
            let parameters = Shape::from_str(letter).unwrap().config().unwrap().parameters();
            parameters.iter().map(|it| it.len()).sum::<usize>() as f64 / 1e6
        };
        for (letter, size) in [("A", 3.0), ("B", 25.3), ("C", 134.5)] {
            assert!((millions(letter) - size).abs() < 0.06, "{letter}: {}", millions(letter));
        }
    }

    #[test]
    fn a_shape_that_is_not_there_is_told_with_those_that_are() {
        let told = |text: &str| Shape::from_str(text).unwrap_err().to_string();
        assert_eq!(
            told("b"),
            "it may be `A`, `B`, `C`, or a folder with a config.json, which `b` is not; `B` was probably meant"
        );
        assert!(told("no/such/folder").ends_with("which `no/such/folder` is not"));
        assert!(told("assets/tinny").ends_with("which `assets/tinny` is not; `assets/tiny` was probably meant"));
        assert_eq!(Shape::from_str("assets/tiny").unwrap(), Shape::Folder("assets/tiny".into()));
    }
}
