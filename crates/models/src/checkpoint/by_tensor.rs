//! A JSON object by tensor, each name once.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

/// Where other maps would keep the last of two values with one name, this one is an error. `__metadata__`, which can be no tensor, is left
/// out.
pub(super) struct ByTensor<V>(pub(super) BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for ByTensor<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Once(PhantomData))
    }
}

struct Once<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Once<V> {
    type Value = ByTensor<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a key for every tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ByTensor<V>, A::Error> {
        let mut tensors = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if tensors.contains_key(&name) {
                return Err(A::Error::custom(format!("two tensors are named {name}")));
            }
            let value = map.next_value().map_err(|error| A::Error::custom(format!("tensor {name}: {error}")))?;
            tensors.insert(name, value);
        }
        Ok(ByTensor(tensors))
    }
}
