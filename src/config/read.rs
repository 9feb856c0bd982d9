//! From a [`Node`] tree to a typed value, with every mistake found instead of the first.
//!
//! Serde stops at a mistake. So the value that holds it is reported, taken out of the tree (every field has a default), and the rest is
//! read again, until nothing is left to report.

use std::fmt::{self, Display};

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::node::{Key, Node, Place, Value};

/// A value that cannot be read.
#[derive(Debug)]
pub(super) struct Mistake {
    /// Keys from the root to the value.
    pub(super) path: Vec<String>,
    /// Where it is written.
    pub(super) place: Option<Place>,
    /// What is wrong.
    pub(super) fault: Fault,
}

/// What is wrong with a value.
#[derive(Debug)]
pub(super) enum Fault {
    /// The key is none of ours.
    UnknownKey { allowed: &'static [&'static str] },
    /// The value is a name, and none of ours.
    UnknownName { found: String, allowed: &'static [&'static str] },
    /// The value is of another type, or out of the type's range.
    Unexpected { found: String, expected: String },
    /// Something else, in words.
    Other(String),
}

/// Reads all of `root` that can be read. `None` only if the root itself is of the wrong type.
pub(super) fn read<T: DeserializeOwned>(root: &mut Node) -> (Option<T>, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    loop {
        match T::deserialize(&*root) {
            Ok(value) => return (Some(value), mistakes),
            Err(mut mistake) => {
                mistake.path.reverse();
                let again = root.remove(&mistake.path);
                mistakes.push(mistake);
                if !again {
                    return (None, mistakes);
                }
            }
        }
    }
}

impl Mistake {
    fn new(fault: Fault) -> Self {
        Self { path: Vec::new(), place: None, fault }
    }

    /// The same mistake, seen from one level further up. The innermost place is the best one.
    fn inside(mut self, name: impl Into<String>, place: Place) -> Self {
        self.path.push(name.into());
        self.place = self.place.or(Some(place));
        self
    }
}

impl Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.path.join("."), self.fault)
    }
}

impl std::error::Error for Mistake {}

impl de::Error for Mistake {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(Fault::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(Fault::Unexpected { found: in_words(found), expected: expectation(&expected.to_string()) })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(found: &str, allowed: &'static [&'static str]) -> Self {
        Self::new(Fault::UnknownName { found: found.to_owned(), allowed })
    }

    fn unknown_field(_found: &str, allowed: &'static [&'static str]) -> Self {
        Self::new(Fault::UnknownKey { allowed })
    }
}

fn in_words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Unsigned(value) => format!("{value}"),
        Unexpected::Signed(value) => format!("{value}"),
        Unexpected::Float(value) => format!("{value:?}"),
        Unexpected::Bool(value) => format!("{value}"),
        Unexpected::Str(value) => format!("the text {value:?}"),
        Unexpected::Map => "a mapping".into(),
        Unexpected::Seq => "a list".into(),
        Unexpected::Unit => "nothing".into(),
        other => other.to_string(),
    }
}

/// What serde's derived code calls a Rust type, in the words of someone who writes YAML.
fn expectation(serde: &str) -> String {
    match serde {
        "f32" | "f64" => "a number".into(),
        "u32" | "u64" | "usize" => "a whole number, 0 or more".into(),
        "a string" | "path string" => "text".into(),
        "a boolean" => "`true` or `false`".into(),
        "a sequence" => "a list".into(),
        "a map" => "a mapping of names to values".into(),
        _ if serde.starts_with("struct ") => "a mapping of keys to values".into(),
        _ => serde.to_owned(),
    }
}

impl<'de> de::Deserializer<'de> for &Node {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (Err(_), Ok(value)) => visitor.visit_i64(value),
                (Err(_), Err(_)) => visitor.visit_i128(*value),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(value) => visitor.visit_str(value),
            Value::List(nodes) => visitor.visit_seq(Items { nodes, next: 0 }),
            Value::Map(entries) => visitor.visit_map(Entries { entries, next: 0 }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// A section whose keys are all left out, or commented out, is one of defaults.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        match self.value {
            Value::Null => visitor.visit_map(Entries { entries: &[], next: 0 }),
            // Serde would take a list for the fields in order.
            Value::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        match &self.value {
            Value::Text(name) => visitor.visit_enum(name.as_str().into_deserializer()),
            _ => Err(Mistake::new(Fault::UnknownName { found: self.to_string(), allowed: variants })),
        }
    }

    /// Serde would leave what is too much unread.
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Mistake> {
        match &self.value {
            Value::List(nodes) if nodes.len() != len => Err(Mistake::new(Fault::Unexpected {
                found: format!("a list of {}", nodes.len()),
                expected: format!("a list of {len}"),
            })),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Mistake> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple_struct
        map identifier ignored_any
    }
}

struct Items<'a> {
    nodes: &'a [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Mistake;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Mistake> {
        let Some(node) = self.nodes.get(self.next) else { return Ok(None) };
        let at = self.next;
        self.next += 1;
        seed.deserialize(node).map(Some).map_err(|mistake| mistake.inside(at.to_string(), node.place))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.nodes.len() - self.next)
    }
}

struct Entries<'a> {
    entries: &'a [(Key, Node)],
    next: usize,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Mistake;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Mistake> {
        let Some((key, _)) = self.entries.get(self.next) else { return Ok(None) };
        let read = seed.deserialize(key.name.as_str().into_deserializer());
        read.map(Some).map_err(|mistake: Mistake| mistake.inside(&key.name, key.place))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Mistake> {
        let (key, node) = &self.entries[self.next];
        self.next += 1;
        let place =
            if matches!(node.value, Value::Map(_) | Value::List(_) | Value::Null) { key.place } else { node.place };
        seed.deserialize(node).map_err(|mistake| mistake.inside(&key.name, place))
    }
}
