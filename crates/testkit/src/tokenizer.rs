//! A tokenizer over characters.

use stateset_domain::{Tokenizer, TokenizerError};

const SPECIAL: [&str; 5] = ["<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>"];

/// One token a character; the special tokens of the chat format come first.
#[derive(Debug, Clone, Copy, Default)]
pub struct CharTokenizer;

impl CharTokenizer {
    /// The id of the token that ends a turn.
    pub const END: u32 = 4;
}

impl Tokenizer for CharTokenizer {
    fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        Ok(text.chars().map(|c| c as u32 + SPECIAL.len() as u32).collect())
    }

    fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        let character = |id: u32| char::from_u32(id).ok_or_else(|| TokenizerError(format!("no character {id}")));
        ids.iter().filter_map(|id| id.checked_sub(SPECIAL.len() as u32)).map(character).collect()
    }

    fn special(&self, token: &str) -> Option<u32> {
        SPECIAL.iter().position(|special| *special == token).map(|id| id as u32)
    }

    fn specials(&self) -> Vec<String> {
        SPECIAL.map(String::from).to_vec()
    }

    fn encode_marked(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let (mut ids, mut rest) = (Vec::new(), text);
        while let Some(next) = rest.chars().next() {
            let special = SPECIAL.iter().find(|special| rest.starts_with(**special));
            let (found, length) = match special {
                Some(special) => (self.special(special).into_iter().collect(), special.len()),
                None => (self.encode(&rest[..next.len_utf8()])?, next.len_utf8()),
            };
            ids.extend(found);
            rest = &rest[length..];
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_and_special_tokens_are_left_out() {
        let mut ids = CharTokenizer.encode("hé <|end|>").unwrap();
        assert_eq!(ids.len(), 10, "a special token written out is text");
        ids.push(CharTokenizer.special("<|end|>").unwrap());
        assert_eq!(CharTokenizer.decode(&ids).unwrap(), "hé <|end|>");
    }
}
