//! Text to ids through the `tokenizers` crate, and the training of the built-in tokenizer.

use std::sync::Arc;

use stateset_domain::{Tokenizer, TokenizerError};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, NormalizerWrapper, PostProcessorWrapper, SplitDelimiterBehavior, TokenizerImpl};

/// A `tokenizer.json`.
#[derive(Clone)]
pub struct HfTokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    /// The same, to which a special token written out is that token.
    marked: Arc<tokenizers::Tokenizer>,
}

fn failed(error: impl std::fmt::Display) -> TokenizerError {
    TokenizerError(error.to_string())
}

impl HfTokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// If it is not one.
    pub fn from_json(bytes: &[u8]) -> Result<Self, TokenizerError> {
        // The crate expects JSON of itself, and panics on some that is not, or that is no tokenizer's.
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(failed)?;
        let read = std::panic::catch_unwind(|| tokenizers::Tokenizer::from_bytes(bytes));
        let mut inner = read.map_err(|_| failed("it breaks the reader of tokenizers"))?.map_err(failed)?;
        // Sequences are as long as what was said: what is cut or filled up here would be trained on.
        inner.with_truncation(None).map_err(failed)?.with_padding(None);
        let marked = Arc::new(inner.clone());
        // Text that a user typed must never turn into the tokens that separate roles.
        inner.set_encode_special_tokens(true);
        Ok(Self { inner: Arc::new(inner), marked })
    }

    /// Ids in use, special tokens included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

impl Tokenizer for HfTokenizer {
    fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        Ok(self.inner.encode_fast(text, false).map_err(failed)?.get_ids().to_vec())
    }

    fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.inner.decode(ids, true).map_err(failed)
    }

    fn special(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    fn specials(&self) -> Vec<String> {
        let added = self.inner.get_added_tokens_decoder().into_values();
        let mut found: Vec<String> = added.filter(|token| token.special).map(|token| token.content).collect();
        found.sort();
        found
    }

    fn encode_marked(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        Ok(self.marked.encode_fast(text, false).map_err(failed)?.get_ids().to_vec())
    }
}

type Trainable =
    TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, tokenizers::DecoderWrapper>;

/// Trains a byte-level BPE (Sennrich et al., arXiv:1508.07909) on `texts` and returns its `tokenizer.json`. Words keep their leading
/// space; every capital, digit and punctuation mark stands alone, so that references are spelled, not guessed. The same texts give the
/// same bytes.
///
/// # Errors
/// If training fails.
pub fn train_tokenizer(texts: &[String], special: &[&str], vocab_size: usize) -> Result<Vec<u8>, TokenizerError> {
    let added = |token: &&str| AddedToken::from(token.to_string(), true);
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(vocab_size)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special.iter().map(added).collect())
        .build();
    let words = SplitPattern::Regex(r" ?[a-z]+| ?[A-Z0-9]| ?[^a-zA-Z0-9\s]|\s+".into());
    let split = Split::new(words, SplitDelimiterBehavior::Isolated, false).map_err(failed)?;
    let pieces: Vec<PreTokenizerWrapper> = vec![split.into(), ByteLevel::new(false, false, false).into()];
    let mut tokenizer = Trainable::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(Sequence::new(pieces)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    tokenizer.train(&mut trainer, texts.iter()).map_err(failed)?;
    tokenizer.to_string(true).map(String::into_bytes).map_err(failed)
}
