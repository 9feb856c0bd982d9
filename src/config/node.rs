//! A configuration as written: keys and values that know where they stand.
//!
//! The YAML parser is typed and stops at the first mistake. Reading into this tree first costs a page of code and buys two things:
//! overrides can be laid over the file before anything is interpreted, and every mistake can be reported at its own line at once.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// Where something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Which source: 0 is the file, `n` the `n`-th override.
    pub(super) source: usize,
    /// The line, from 1.
    pub(super) line: usize,
    /// The character within the line, from 1.
    pub(super) column: usize,
    /// How many characters it takes; at least 1.
    pub(super) width: usize,
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key and its place.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) place: Place,
    pub(super) name: String,
}

impl Node {
    /// Reads YAML. An empty text is an empty map.
    pub(super) fn parse(text: &str) -> Result<Self, serde_saphyr::Error> {
        let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
        serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options).map(Self::from)
    }

    /// Moves the tree to another source, its first line starting `columns` later.
    pub(super) fn relocate(&mut self, source: usize, columns: usize) {
        let shift = |place: &mut Place| {
            place.source = source;
            place.column += if place.line == 1 { columns } else { 0 };
        };
        shift(&mut self.place);
        match &mut self.value {
            Value::Map(entries) => entries.iter_mut().for_each(|(key, node)| {
                shift(&mut key.place);
                node.relocate(source, columns);
            }),
            Value::List(nodes) => nodes.iter_mut().for_each(|node| node.relocate(source, columns)),
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => {}
        }
    }

    /// The entry of a map, if this is a map that has it.
    pub(super) fn entry(&self, name: &str) -> Option<&(Key, Self)> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key.name == name),
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) | Value::List(_) => {
                None
            }
        }
    }

    /// The value at `path`, if it is written down.
    pub(super) fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, name| node.entry(name).map(|(_, node)| node))
    }

    fn item(&self, number: &str) -> Option<&Self> {
        match &self.value {
            Value::List(nodes) => nodes.get(number.parse::<usize>().ok()?),
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) | Value::Map(_) => None,
        }
    }

    /// The place of the value at `path`, or of the nearest key above it that is written down. Items of lists go by their number.
    pub(super) fn locate(&self, path: &str) -> Option<Place> {
        let mut found = (None, self);
        for name in path.split('.') {
            found = match (found.1.entry(name), found.1.item(name)) {
                (Some((key, node)), _) => (Some(key.place), node),
                (None, Some(node)) => (found.0, node),
                (None, None) => return found.0,
            };
        }
        Some(match &found.1.value {
            Value::Map(_) | Value::List(_) | Value::Null => return found.0,
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => found.1.place,
        })
    }

    /// Forgets the value at `path`; whether there was one.
    pub(super) fn remove(&mut self, path: &[String]) -> bool {
        let Some((name, rest)) = path.split_first() else { return false };
        match &mut self.value {
            Value::Map(entries) => {
                let Some(at) = entries.iter().position(|(key, _)| key.name == *name) else { return false };
                if rest.is_empty() {
                    entries.remove(at);
                    return true;
                }
                entries[at].1.remove(rest)
            }
            Value::List(nodes) => {
                let Some(at) = name.parse().ok().filter(|at| *at < nodes.len()) else { return false };
                if rest.is_empty() {
                    nodes.remove(at);
                    return true;
                }
                nodes[at].remove(rest)
            }
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => false,
        }
    }

    /// Every leaf with its path, in the order written. A list of leaves is one leaf.
    pub(super) fn leaves(&self) -> Vec<(String, String)> {
        match &self.value {
            Value::Map(entries) => entries.iter().flat_map(|(key, node)| node.leaves_under(&key.name)).collect(),
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) | Value::List(_) => {
                vec![(String::new(), self.to_string())]
            }
        }
    }

    fn leaves_under(&self, name: &str) -> impl Iterator<Item = (String, String)> {
        let join = |path: String| if path.is_empty() { name.to_owned() } else { format!("{name}.{path}") };
        self.leaves().into_iter().map(move |(path, leaf)| (join(path), leaf)).collect::<Vec<_>>().into_iter()
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Null => write!(f, "nothing"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Integer(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value:?}"),
            Value::Text(value) => write!(f, "{value}"),
            Value::List(nodes) => {
                let items: Vec<String> = nodes.iter().map(Self::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Value::Map(entries) => {
                let items: Vec<String> = entries.iter().map(|(key, node)| format!("{}: {node}", key.name)).collect();
                write!(f, "{{{}}}", items.join(", "))
            }
        }
    }
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1);
        let width = usize::try_from(location.span().len()).unwrap_or(1).max(1);
        Self { source: 0, line: whole(location.line()), column: whole(location.column()), width }
    }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        Self { place: spanned.referenced.into(), value: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Value>>()? {
            nodes.push(item.into());
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Spanned<String>, Spanned<Value>>()? {
            nodes.push((Key { place: key.referenced.into(), name: key.value }, value.into()));
        }
        Ok(Value::Map(nodes))
    }
}
