//! Sizes as people write them: `64MiB`, `512KiB`, `2GiB`. For use with `#[serde(with = "size")]`.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserializer, Serializer};

/// Units from the largest, each in bytes.
const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Writes a size in the largest unit that loses nothing.
pub(super) fn text(bytes: u64) -> String {
    let (unit, size) = UNITS.into_iter().find(|(_, size)| bytes > 0 && bytes.is_multiple_of(*size)).unwrap_or(("B", 1));
    format!("{}{unit}", bytes / size)
}

fn parse(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| c != '.' && !c.is_ascii_digit())?;
    let (_, size) = UNITS.into_iter().find(|(unit, _)| *unit == text[digits..].trim_start())?;
    let bytes = text[..digits].parse::<f64>().ok()? * size as f64;
    // Beyond that, whole numbers are no longer exact.
    (bytes < 2f64.powi(53)).then_some(bytes.round() as u64)
}

pub(super) fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*bytes))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_str(SizeVisitor)
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a size with its unit, such as `512KiB`, `64MiB` or `2GiB`")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<u64, E> {
        parse(value).ok_or_else(|| E::invalid_value(de::Unexpected::Str(value), &self))
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
