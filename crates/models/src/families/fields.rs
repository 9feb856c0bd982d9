//! A JSON object read field by field, so that what nobody has read can be named in the end.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::ConfigError;

/// Fields of every model that change nothing of what the model computes.
const INERT: [&str; 22] = [
    "_name_or_path",
    "architectures",
    "auto_map",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "dtype",
    "id2label",
    "initializer_range",
    "label2id",
    "model_type",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "pretraining_tp",
    "problem_type",
    "return_dict",
    "tokenizer_class",
    "torch_dtype",
    "transformers_version",
    "transformers.js_config",
    "use_cache",
];

/// The largest count a field may give.
const MOST: u64 = 1 << 24;

pub(super) struct Fields {
    map: Map<String, Value>,
    /// What stands before a field's name in messages.
    within: String,
    read: BTreeSet<String>,
}

impl Fields {
    pub(super) fn new(map: Map<String, Value>) -> Self {
        Self { map, within: String::new(), read: BTreeSet::new() }
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.within)
    }

    fn wrong(&self, field: &str, found: &Value, expected: &'static str) -> ConfigError {
        ConfigError::Type { field: self.full(field), found: short(found), expected }
    }

    /// The field, if it is there and not null.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.read.insert(name.into());
        self.map.get(name).filter(|value| !value.is_null()).cloned()
    }

    fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, ConfigError> {
        value.ok_or_else(|| ConfigError::Missing(self.full(name)))
    }

    /// A whole number of at least 1.
    pub(super) fn count(&mut self, name: &str) -> Result<usize, ConfigError> {
        let value = self.optional_count(name)?;
        self.required(name, value)
    }

    pub(super) fn optional_count(&mut self, name: &str) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let count = value.as_u64().filter(|count| (1..=MOST).contains(count));
        count.map(|count| Some(count as usize)).ok_or_else(|| self.wrong(name, &value, "a whole number from 1 to 2^24"))
    }

    /// A number above 0.
    pub(super) fn number(&mut self, name: &str) -> Result<f64, ConfigError> {
        let value = self.optional_number(name)?;
        self.required(name, value)
    }

    pub(super) fn optional_number(&mut self, name: &str) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_f64().filter(|number| *number > 0.0 && *number <= 1e12);
        number.map(Some).ok_or_else(|| self.wrong(name, &value, "a number above 0"))
    }

    pub(super) fn flag(&mut self, name: &str, default: bool) -> Result<bool, ConfigError> {
        let Some(value) = self.take(name) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(name, &value, "true or false"))
    }

    /// A list of numbers above 0.
    pub(super) fn numbers(&mut self, name: &str) -> Result<Vec<f64>, ConfigError> {
        let value = self.take(name);
        let value = self.required(name, value)?;
        let number = |value: &Value| value.as_f64().filter(|number| *number > 0.0 && *number <= 1e12);
        let numbers = value.as_array().and_then(|list| list.iter().map(number).collect());
        numbers.ok_or_else(|| self.wrong(name, &value, "a list of numbers above 0"))
    }

    /// The ids of `name`, a number or a list.
    pub(super) fn ids(&mut self, name: &str) -> Result<Vec<u32>, ConfigError> {
        let Some(value) = self.take(name) else { return Ok(Vec::new()) };
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = value.as_array().map_or_else(|| id(&value).map(|id| vec![id]), |list| list.iter().map(id).collect());
        ids.ok_or_else(|| self.wrong(name, &value, "an id or a list of them"))
    }

    /// The text of a field.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, ConfigError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_str().map(|text| Some(text.to_string())).ok_or_else(|| self.wrong(name, &value, "a text"))
    }

    /// A field that may be absent, null or one of `allowed`.
    pub(super) fn only(&mut self, name: &str, allowed: &[Value]) -> Result<(), ConfigError> {
        let Some(value) = self.take(name) else { return Ok(()) };
        let equal = |a: &Value| a == &value || (a.is_number() && a.as_f64() == value.as_f64());
        if allowed.iter().any(equal) {
            return Ok(());
        }
        let supported: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        Err(ConfigError::Unsupported {
            field: self.full(name),
            found: short(&value),
            supported: supported.join(" or "),
        })
    }

    /// The fields of an object.
    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>, ConfigError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(map)) => {
                Ok(Some(Self { map, within: format!("{}.", self.full(name)), read: BTreeSet::new() }))
            }
            Some(other) => Err(self.wrong(name, &other, "an object")),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    /// Fields that change nothing here.
    pub(super) fn ignore(&mut self, names: &[&str]) {
        self.read.extend(names.iter().map(|name| (*name).to_string()));
    }

    /// That everything has been read that is not inert.
    pub(super) fn finish(&self, family: &'static str) -> Result<(), ConfigError> {
        let inert = |name: &str| self.within.is_empty() && INERT.contains(&name);
        let unread = |(name, value): &(&String, &Value)| !value.is_null() && !self.read.contains(*name) && !inert(name);
        let fields: Vec<String> = self.map.iter().filter(unread).map(|(name, _)| self.full(name)).take(8).collect();
        if fields.is_empty() { Ok(()) } else { Err(ConfigError::Unknown { fields: fields.join(", "), family }) }
    }
}

/// A value as messages show it.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
