//! Keeps what somebody typed from turning into special tokens.
//!
//! A template mixes its own text with what people, tools and models said, and only the template may write special tokens. So a mark is put
//! inside every special token that stands in what was said, after its first character, before it is rendered: neither the template nor the
//! tokenizer takes it for the token then. Afterwards the marks are taken out again, and what they stood in is encoded as ordinary text.
//! The mark is a code point that Unicode keeps from being interchanged; one that was said is replaced.

use minijinja::Value;
use minijinja::value::ValueKind;
use stateset_domain::{Tokenizer, TokenizerError};

/// Unicode's noncharacter U+FDD1.
const MARK: char = '\u{FDD1}';
const REPLACEMENT: &str = "\u{FFFD}";

/// `value` with a mark in every special token of `specials` that a string of it contains, or that may begin at the end of one.
/// What stands under the key `role` is nobody's words.
pub(crate) fn guarded(value: &Value, specials: &[String]) -> Value {
    match value.kind() {
        ValueKind::String => Value::from(marked(value.as_str().unwrap_or_default(), specials)),
        ValueKind::Seq => {
            let items = value.try_iter().into_iter().flatten();
            Value::from(items.map(|item| guarded(&item, specials)).collect::<Vec<_>>())
        }
        ValueKind::Map => {
            let keys = value.try_iter().into_iter().flatten();
            let pairs = keys.map(|key| {
                let item = value.get_item(&key).unwrap_or_default();
                let is_role = key.as_str() == Some("role");
                (guarded(&key, specials), if is_role { item } else { guarded(&item, specials) })
            });
            Value::from_pairs(pairs)
        }
        _ => value.clone(),
    }
}

fn marked(text: &str, specials: &[String]) -> String {
    let text = text.replace(MARK, REPLACEMENT);
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        out.push(c);
        let rest = &text[at..];
        if specials.iter().any(|special| rest.starts_with(special.as_str()) || special.starts_with(rest)) {
            out.push(MARK);
        }
    }
    out
}

/// The ids of a rendered text in which what was said is guarded.
pub(crate) fn encode(text: &str, specials: &[String], tokenizer: &dyn Tokenizer) -> Result<Vec<u32>, TokenizerError> {
    if !text.contains(MARK) {
        return tokenizer.encode_marked(text);
    }
    let (mut plain, mut said) = (String::with_capacity(text.len()), Vec::new());
    for c in text.chars() {
        match (c, plain.chars().next_back()) {
            (MARK, Some(first)) => said.push(plain.len() - first.len_utf8()),
            (MARK, None) => {}
            (c, _) => plain.push(c),
        }
    }
    let (mut ids, mut done) = (Vec::new(), 0);
    for at in said {
        let found = specials.iter().filter(|special| plain[at..].starts_with(special.as_str())).map(String::len).max();
        if let Some(length) = found.filter(|_| at >= done) {
            ids.extend(tokenizer.encode_marked(&plain[done..at])?);
            ids.extend(tokenizer.encode(&plain[at..at + length])?);
            done = at + length;
        }
    }
    ids.extend(tokenizer.encode_marked(&plain[done..])?);
    Ok(ids)
}
