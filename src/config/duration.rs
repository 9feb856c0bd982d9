//! Durations as people write them: `30s`, `200ms`, `5m`, `2h`. For use with `#[serde(with = "duration")]`.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserializer, Serializer};

/// Units from the largest, each in milliseconds.
const UNITS: [(&str, u128); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Writes a duration in the largest unit that loses nothing; what is shorter than a millisecond is dropped.
pub(super) fn text(duration: Duration) -> String {
    let millis = duration.as_millis();
    let (unit, size) =
        UNITS.into_iter().find(|(_, size)| millis > 0 && millis.is_multiple_of(*size)).unwrap_or(("s", 1_000));
    format!("{}{unit}", millis / size)
}

pub(super) fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| c != '.' && !c.is_ascii_digit())?;
    let (_, size) = UNITS.into_iter().find(|(unit, _)| *unit == text[digits..].trim_start())?;
    let amount: f64 = text[..digits].parse().ok()?;
    Duration::try_from_secs_f64(amount * size as f64 / 1000.0).ok()
}

pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*duration))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(DurationVisitor)
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a duration with its unit, such as `200ms`, `30s`, `5m` or `2h`")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Duration, E> {
        parse(value).ok_or_else(|| E::invalid_value(de::Unexpected::Str(value), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_alike() {
        for written in ["30s", "200ms", "5m", "2h", "90s", "0s"] {
            assert_eq!(text(parse(written).unwrap()), written);
        }
        assert_eq!(parse("1.5s"), Some(Duration::from_millis(1500)));
    }

    #[test]
    fn a_number_without_a_unit_is_no_duration() {
        for wrong in ["30", "", "s", "3 weeks", "-3s", "1e3s"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
