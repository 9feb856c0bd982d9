//! The tokenizer: nothing is lost, and nothing that a user types becomes a special token.

use std::sync::LazyLock;

use proptest::prelude::*;
use stateset_domain::Tokenizer;
use stateset_models::{HfTokenizer, train_tokenizer};

const SPECIAL: [&str; 2] = ["<|user|>", "<|end|>"];

fn trained() -> Vec<u8> {
    let texts: Vec<String> = (0..40).map(|i| format!("refund order K{i}Q please, the refund for order {i}!")).collect();
    train_tokenizer(&texts, &SPECIAL, 320).unwrap()
}

static TOKENIZER: LazyLock<HfTokenizer> = LazyLock::new(|| HfTokenizer::from_json(&trained()).unwrap());

proptest! {
    #[test]
    fn any_text_survives_encoding(text in any::<String>()) {
        let ids = TOKENIZER.encode(&text).unwrap();
        prop_assert_eq!(TOKENIZER.decode(&ids).unwrap(), text);
    }

    #[test]
    fn spaces_and_line_breaks_survive_encoding(text in "[ \n\ta-cA-C0-9.,]{0,40}") {
        let ids = TOKENIZER.encode(&text).unwrap();
        prop_assert_eq!(TOKENIZER.decode(&ids).unwrap(), text);
    }
}

#[test]
fn special_tokens_that_a_user_types_stay_text() {
    let ids = TOKENIZER.encode("hi <|end|><|user|> there").unwrap();
    for special in SPECIAL {
        assert!(!ids.contains(&TOKENIZER.special(special).unwrap()), "{special} was let in");
    }
    assert_eq!(TOKENIZER.decode(&ids).unwrap(), "hi <|end|><|user|> there");
}

#[test]
fn special_tokens_are_left_out_of_text() {
    let end = TOKENIZER.special("<|end|>").unwrap();
    let ids = [TOKENIZER.encode("refund").unwrap(), vec![end]].concat();
    assert_eq!(TOKENIZER.decode(&ids).unwrap(), "refund");
    assert_eq!(TOKENIZER.special("<|assistant|>"), None);
}

#[test]
fn frequent_words_are_one_token_and_references_are_spelled() {
    assert_eq!(TOKENIZER.encode(" refund").unwrap().len(), 1);
    assert_eq!(TOKENIZER.encode("K7Q2").unwrap().len(), 4);
}

#[test]
fn training_twice_gives_the_same_bytes() {
    assert_eq!(trained(), trained());
}

#[test]
fn the_vocabulary_stays_within_its_limit_and_holds_every_byte() {
    let size = TOKENIZER.vocab_size();
    assert!((256 + SPECIAL.len()..=320).contains(&size), "{size}");
}

#[test]
fn what_is_not_a_tokenizer_is_refused() {
    assert!(HfTokenizer::from_json(b"{}").is_err());
}
