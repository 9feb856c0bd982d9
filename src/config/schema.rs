//! What a run's file may say, as a JSON schema: for editors, which complete keys and explain them.
//!
//! It is not written down anywhere. The reader that reads files is asked: given a value that no key can have, it says what it would have
//! taken there, and given a key that nobody has, which ones it knows. So the schema allows what the reader allows, whoever adds a key. What
//! a key means is taken from `docs/running.md`, which has every key.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::Config;
use super::node::{Key, Node, Place, Value};
use super::read::{Fault, read};

/// The manual, whose tables say what each key means.
const MANUAL: &str = include_str!("../../docs/running.md");

/// A name that nobody has.
const NOBODY: &str = "?";

/// What stands for the names that one gives oneself, as in the manual.
const NAME: &str = "NAME";

/// Deeper than any key is.
const DEEPEST: usize = 12;

/// The JSON schema of a run's file.
#[must_use]
pub fn schema() -> Json {
    let defaults = serde_json::to_value(Config::default()).expect("a configuration is numbers and texts");
    let asking = Asking { meanings: meanings(), defaults };
    let mut schema = asking.schema(&mut Vec::new());
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "A run of StateSet Agents".into();
    schema
}

/// What each key means, by key.
fn meanings() -> BTreeMap<&'static str, &'static str> {
    let rows = MANUAL.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| {
        let (key, rest) = row.split_once("` | ")?;
        Some((key, rest.split_once(" | ")?.1.trim_end_matches('|').trim()))
    })
    .collect()
}

struct Asking {
    meanings: BTreeMap<&'static str, &'static str>,
    defaults: Json,
}

/// A step from a value to one within it.
#[derive(Clone, Copy)]
enum Step {
    Key(&'static str),
    /// The first item of a list of so many.
    Item(usize),
}

impl Asking {
    fn schema(&self, path: &mut Vec<Step>) -> Json {
        let mut schema = self.shape(path);
        let key = written(path);
        if let Some(meaning) = self.meanings.get(key.as_str()) {
            schema["description"] = (*meaning).into();
        }
        let default = self.defaults.pointer(&format!("/{}", key.replace('.', "/")));
        if let Some(default) = default.filter(|it| !it.is_null() && !it.is_object() && !key.is_empty()) {
            schema["default"] = default.clone();
        }
        schema
    }

    /// What may stand at `path`, by what the reader says of a mapping with a key that nobody has.
    fn shape(&self, path: &mut Vec<Step>) -> Json {
        let odd = Value::Map(vec![(Key { place: NOWHERE, name: NOBODY.to_owned() }, node(Value::Null))]);
        let Some((depth, fault)) = answer(path, odd).filter(|_| path.len() < DEEPEST) else {
            return if answer(path, Value::Integer(0)).is_some() { self.named(path) } else { json!({}) };
        };
        match fault {
            Fault::UnknownKey { allowed } if depth == path.len() + 1 => {
                let fields = allowed.iter().map(|name| ((*name).to_owned(), self.below(path, Step::Key(name))));
                let fields: serde_json::Map<String, Json> = fields.collect();
                json!({"type": ["object", "null"], "properties": fields, "additionalProperties": false})
            }
            _ if depth > path.len() => self.named(path),
            Fault::UnknownName { allowed, .. } => json!({"enum": allowed}),
            Fault::Unexpected { expected, .. } => self.expected(path, &expected),
            Fault::UnknownKey { .. } | Fault::Other(_) => json!({}),
        }
    }

    /// A mapping whose names are one's own.
    fn named(&self, path: &mut Vec<Step>) -> Json {
        json!({"type": "object", "additionalProperties": self.below(path, Step::Key(NAME))})
    }

    fn below(&self, path: &mut Vec<Step>, step: Step) -> Json {
        path.push(step);
        let below = self.schema(path);
        path.pop();
        below
    }

    /// The reader's words for what it would have taken.
    fn expected(&self, path: &mut Vec<Step>, words: &str) -> Json {
        let list = words.strip_prefix("an array of length ").and_then(|length| length.parse::<usize>().ok());
        match (words, list) {
            (_, Some(length)) => {
                let item = self.below(path, Step::Item(length));
                json!({"type": "array", "items": item, "minItems": length, "maxItems": length})
            }
            ("a list", _) => json!({"type": "array", "items": self.below(path, Step::Item(1))}),
            ("text", _) => json!({"type": "string"}),
            ("a number", _) => json!({"type": "number"}),
            ("a whole number, 0 or more", _) => json!({"type": "integer", "minimum": 0}),
            ("`true` or `false`", _) => json!({"type": "boolean"}),
            _ if words.starts_with("a size") => json!({"type": "string", "pattern": "^[0-9.]+ *(B|KiB|MiB|GiB)$"}),
            _ if words.starts_with("a duration") => json!({"type": "string", "pattern": "^[0-9.]+ *(ms|s|m|h)$"}),
            _ => json!({}),
        }
    }
}

const NOWHERE: Place = Place { source: 0, line: 1, column: 1, width: 1 };

fn node(value: Value) -> Node {
    Node { place: NOWHERE, value }
}

/// The key as it is written, with one's own names as in the manual. Items of lists have none.
fn written(path: &[Step]) -> String {
    let names = path.iter().filter_map(|step| match step {
        Step::Key(name) => Some(*name),
        Step::Item(_) => None,
    });
    if path.iter().any(|step| matches!(step, Step::Item(_))) {
        return NOBODY.to_owned();
    }
    names.collect::<Vec<_>>().join(".")
}

/// What the reader says of `value` at `path`: how deep in it the mistake is, and what it is. `None` if it takes it.
fn answer(path: &[Step], value: Value) -> Option<(usize, Fault)> {
    let mut root = path.iter().rev().fold(node(value), |below, step| match step {
        Step::Key(name) => node(Value::Map(vec![(Key { place: NOWHERE, name: (*name).to_owned() }, below)])),
        Step::Item(length) => {
            let rest = (1..*length).map(|_| node(Value::Null));
            node(Value::List(std::iter::once(below).chain(rest).collect()))
        }
    });
    let (_, mistakes) = read::<Config>(&mut root);
    mistakes.into_iter().next().map(|mistake| (mistake.path.len(), mistake.fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Json {
        let schema = schema();
        schema.pointer(path).unwrap_or_else(|| panic!("no {path} in {schema:#}")).clone()
    }

    #[test]
    fn what_the_reader_takes_is_what_the_schema_allows() {
        let algorithms = at("/properties/training/properties/algorithm/enum");
        assert!(
            algorithms.as_array().is_some_and(|names| names.contains(&"grpo".into()) && names.contains(&"rloo".into()))
        );
        assert_eq!(at("/properties/training/properties/steps/type"), "integer");
        assert_eq!(at("/properties/training/properties/learning_rate/default"), json!(3e-4));
        let betas = at("/properties/training/properties/betas");
        assert_eq!((&betas["items"]["type"], &betas["maxItems"]), (&"number".into(), &2.into()));
        assert_eq!(at("/properties/agent/properties/sampling/properties/stop/items/type"), "string");
        assert_eq!(at("/properties/agent/properties/system/type"), "string");
        assert_eq!(at("/properties/environment/properties/domain/type"), "string");
        let supervisor = at("/properties/topology/properties/supervisors/additionalProperties");
        assert_eq!(supervisor["properties"]["children"]["items"]["type"], "string");
        assert_eq!(supervisor["properties"]["backoff"]["properties"]["min"]["type"], "string");
        assert_eq!(at("/properties/topology/properties/actors/additionalProperties/properties/params/type"), "object");
        assert_eq!(at("/additionalProperties"), false);
    }

    #[test]
    fn every_key_of_the_manual_is_in_it_with_its_meaning() {
        fn keys(schema: &Json, path: &str, found: &mut Vec<String>) {
            if schema.get("description").is_some() {
                found.push(path.to_owned());
            }
            let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            for (name, below) in schema["properties"].as_object().into_iter().flatten() {
                keys(below, &join(name), found);
            }
            if let Some(below) = schema.get("additionalProperties").filter(|it| it.is_object()) {
                keys(below, &join(NAME), found);
            }
        }
        let mut found = Vec::new();
        keys(&schema(), "", &mut found);
        let whole = ["Every key of a run\n", "Every key of a topology\n"];
        let sections = MANUAL.split("\n## ").filter(|it| whole.iter().any(|title| it.starts_with(title)));
        let documented = sections.flat_map(str::lines).filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        for key in documented {
            assert!(found.iter().any(|it| it == key), "{key} is not in the schema");
        }
    }
}
