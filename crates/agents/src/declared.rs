//! What the files beside a model's weights declare about conversations: the chat template, and what ends a reply.
//!
//! | What              | Where, the first that has it                                                                              |
//! |-------------------|-----------------------------------------------------------------------------------------------------------|
//! | the template      | `chat_template.jinja`, `chat_template.json`, `tokenizer_config.json` (a string, or a list of named ones)  |
//! | special tokens    | every `.._token` of `tokenizer_config.json`                                                               |
//! | ends of a reply   | `eos_token_id` of `generation_config.json` or else `config.json`, and the `eos_token`                     |

use std::collections::BTreeMap;

use minijinja::Value as Variable;
use serde_json::Value;
use stateset_domain::{Artifact, Tokenizer};

use crate::ChatTemplate;
use crate::template::TemplateError;

/// What a model's files declare.
pub(crate) struct Declared {
    pub(crate) template: Option<ChatTemplate>,
    /// Each ends a reply by itself.
    pub(crate) stop: Vec<u32>,
}

/// Files that are looked for.
pub const CHAT_FILES: [&str; 5] =
    ["chat_template.jinja", "chat_template.json", "tokenizer_config.json", "generation_config.json", "config.json"];

impl Declared {
    /// Reads `files`; of several templates the one for `tools` is taken where they are declared.
    pub(crate) fn read(files: &[Artifact], tokenizer: &dyn Tokenizer, tools: bool) -> Result<Self, TemplateError> {
        let tokenizer_config = json(files, "tokenizer_config.json")?;
        let variables = special_tokens(&tokenizer_config);
        let template = match source(files, &tokenizer_config, tools)? {
            Some((file, source)) => Some(ChatTemplate::new(file, &source, variables.clone())?),
            None => None,
        };
        let mut stop = ids(&json(files, "generation_config.json")?["eos_token_id"], "generation_config.json")?;
        if stop.is_empty() {
            stop = ids(&json(files, "config.json")?["eos_token_id"], "config.json")?;
        }
        let named = variables.get("eos_token").and_then(|token| tokenizer.special(token.as_str()?));
        stop.extend(named.filter(|id| !stop.contains(id)));
        Ok(Self { template, stop })
    }
}

fn unreadable(file: &str, reason: impl ToString) -> TemplateError {
    TemplateError::Unreadable { file: file.into(), reason: reason.to_string() }
}

fn text<'a>(files: &'a [Artifact], name: &str) -> Result<Option<&'a str>, TemplateError> {
    let file = files.iter().find(|file| file.name == name);
    file.map(|file| std::str::from_utf8(&file.bytes).map_err(|error| unreadable(name, error))).transpose()
}

/// A file as JSON; one that is not there says nothing.
fn json(files: &[Artifact], name: &str) -> Result<Value, TemplateError> {
    let parsed = text(files, name)?.map(serde_json::from_str).transpose();
    Ok(parsed.map_err(|error| unreadable(name, error))?.unwrap_or_default())
}

fn source(
    files: &[Artifact],
    tokenizer_config: &Value,
    tools: bool,
) -> Result<Option<(&'static str, String)>, TemplateError> {
    const JINJA: &str = CHAT_FILES[0];
    const JSON: &str = CHAT_FILES[1];
    const CONFIG: &str = CHAT_FILES[2];
    if let Some(source) = text(files, JINJA)? {
        return Ok(Some((JINJA, source.into())));
    }
    let apart = json(files, JSON)?;
    let (file, found) = match &apart["chat_template"] {
        Value::Null => (CONFIG, &tokenizer_config["chat_template"]),
        found => (JSON, found),
    };
    let wrong = || unreadable(file, "chat_template is neither a text nor a list of {name, template}");
    match found {
        Value::Null => Ok(None),
        Value::String(source) => Ok(Some((file, source.clone()))),
        Value::Array(named) => {
            let of = |name: &str| named.iter().find(|it| it["name"] == name).and_then(|it| it["template"].as_str());
            let chosen = of("tool_use").filter(|_| tools).or_else(|| of("default"));
            let without = || unreadable(file, "chat_template is a list without one named default");
            if named.iter().any(|it| !it["name"].is_string() || !it["template"].is_string()) {
                return Err(wrong());
            }
            Ok(Some((file, chosen.ok_or_else(without)?.into())))
        }
        _ => Err(wrong()),
    }
}

/// The special tokens under their names: a text each, or an object with its `content`.
fn special_tokens(tokenizer_config: &Value) -> BTreeMap<String, Variable> {
    let all = tokenizer_config.as_object().into_iter().flatten();
    let tokens = all.filter(|(name, _)| name.ends_with("_token"));
    let text = |value: &Value| value.as_str().or_else(|| value["content"].as_str()).map(Variable::from);
    tokens.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

/// `eos_token_id`: none, a number or a list of them.
fn ids(value: &Value, file: &str) -> Result<Vec<u32>, TemplateError> {
    let one = |value: &Value| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| unreadable(file, format!("eos_token_id is {value}, allowed are an id and a list of ids")))
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(all) => all.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct None;

    impl Tokenizer for None {
        fn encode(&self, _: &str) -> Result<Vec<u32>, stateset_domain::TokenizerError> {
            Ok(Vec::new())
        }
        fn decode(&self, _: &[u32]) -> Result<String, stateset_domain::TokenizerError> {
            Ok(String::new())
        }
        fn special(&self, token: &str) -> Option<u32> {
            (token == "</s>").then_some(7)
        }
        fn specials(&self) -> Vec<String> {
            Vec::new()
        }
        fn encode_marked(&self, _: &str) -> Result<Vec<u32>, stateset_domain::TokenizerError> {
            Ok(Vec::new())
        }
    }

    fn read(files: &[(&str, &str)], tools: bool) -> Result<Declared, String> {
        let file = |(name, text): &(&str, &str)| Artifact { name: (*name).into(), bytes: text.as_bytes().to_vec() };
        let files: Vec<Artifact> = files.iter().map(file).collect();
        Declared::read(&files, &None, tools).map_err(|error| error.to_string())
    }

    const NAMED: &str = r#"{"eos_token": {"content": "</s>"}, "chat_template": [
        {"name": "default", "template": "plain"}, {"name": "tool_use", "template": "with tools"}]}"#;

    #[test]
    fn of_named_templates_the_one_for_tools_is_taken_where_there_are_tools() {
        let source =
            |tools| read(&[("tokenizer_config.json", NAMED)], tools).unwrap().template.unwrap().source().to_owned();
        assert_eq!((source(false).as_str(), source(true).as_str()), ("plain", "with tools"));
    }

    #[test]
    fn a_file_of_its_own_goes_before_a_field() {
        let files = [("tokenizer_config.json", NAMED), ("chat_template.jinja", "own")];
        assert_eq!(read(&files, true).unwrap().template.unwrap().source(), "own");
    }

    #[test]
    fn every_declared_end_of_a_reply_is_one() {
        let generation = ("generation_config.json", r#"{"eos_token_id": [3, 4]}"#);
        let config = ("config.json", r#"{"eos_token_id": 5}"#);
        assert_eq!(read(&[generation, config, ("tokenizer_config.json", NAMED)], false).unwrap().stop, [3, 4, 7]);
        assert_eq!(read(&[config], false).unwrap().stop, [5]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_file() {
        let told = read(&[("generation_config.json", r#"{"eos_token_id": "x"}"#)], false).err().unwrap();
        assert_eq!(told, r#"generation_config.json: eos_token_id is "x", allowed are an id and a list of ids"#);
        let told = read(&[("chat_template.json", r#"{"chat_template": [{"name": "rag", "template": ""}]}"#)], false);
        assert_eq!(told.err().unwrap(), "chat_template.json: chat_template is a list without one named default");
    }
}
