//! Sizes as people write them: `64MiB`, `512KiB`, `2GiB`. For use with `#[serde(with = "size")]`.

use serde::{Deserialize, Deserializer, Serializer};

use super::units::{self, Units, Written};

const UNITS: Units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Writes a size in the largest unit that loses nothing.
pub(super) fn text(bytes: u64) -> String {
    units::text(bytes, &UNITS, "B")
}

fn parse(text: &str) -> Option<u64> {
    let bytes = units::parse(text, &UNITS)?;
    // Beyond that, whole numbers are no longer exact.
    (bytes < 2f64.powi(53)).then_some(bytes.round() as u64)
}

pub(super) fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*bytes))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let expecting = "a size with its unit, such as `512KiB`, `64MiB` or `2GiB`";
    deserializer.deserialize_str(Written { expecting, parse })
}

/// Sizes that may be left out. For use with `#[serde(with = "size::optional")]`.
pub(super) mod optional {
    use super::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Size(#[serde(with = "super")] u64);

    pub(in crate::config) fn serialize<S: Serializer>(bytes: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => super::serialize(bytes, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        Ok(Option::<Size>::deserialize(deserializer)?.map(|Size(bytes)| bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_alike() {
        for written in ["64MiB", "512KiB", "2GiB", "1000B", "0B"] {
            assert_eq!(text(parse(written).unwrap()), written);
        }
        assert_eq!(parse("1.5 KiB"), Some(1536));
    }

    #[test]
    fn a_number_without_a_unit_is_no_size() {
        for wrong in ["64", "", "MiB", "3MB", "-3MiB", "9999999999GiB"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
