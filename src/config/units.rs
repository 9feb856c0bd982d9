//! Numbers with their unit, as people write them.

use std::fmt;

use serde::de::{self, Visitor};

/// Units from the largest, each in the smallest.
pub(super) type Units = [(&'static str, u64); 4];

/// Writes `value`, in the smallest unit, in the largest one that loses nothing; nothing is 0 of `zero`.
pub(super) fn text(value: u64, units: &Units, zero: &str) -> String {
    let fitting = units.iter().find(|(_, size)| value > 0 && value.is_multiple_of(*size));
    fitting.map_or_else(|| format!("0{zero}"), |(unit, size)| format!("{}{unit}", value / size))
}

/// The value in the smallest unit.
pub(super) fn parse(text: &str, units: &Units) -> Option<f64> {
    let digits = text.find(|c: char| c != '.' && !c.is_ascii_digit())?;
    let (_, size) = units.iter().find(|(unit, _)| *unit == text[digits..].trim_start())?;
    Some(text[..digits].parse::<f64>().ok()? * *size as f64)
}

/// Reads a text as `parse` does, or says what was expected.
pub(super) struct Written<T> {
    pub(super) expecting: &'static str,
    pub(super) parse: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<T, E> {
        (self.parse)(value).ok_or_else(|| E::invalid_value(de::Unexpected::Str(value), &self))
    }
}
