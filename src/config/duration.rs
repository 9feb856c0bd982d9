//! Durations as people write them: `30s`, `200ms`, `5m`, `2h`. For use with `#[serde(with = "duration")]`.

use std::time::Duration;

use serde::{Deserializer, Serializer};

use super::units::{self, Units, Written};

const UNITS: Units = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Writes a duration in the largest unit that loses nothing; what is shorter than a millisecond is dropped.
pub(super) fn text(duration: Duration) -> String {
    units::text(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &UNITS, "s")
}

pub(super) fn parse(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(units::parse(text, &UNITS)? / 1000.0).ok()
}

pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*duration))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let expecting = "a duration with its unit, such as `200ms`, `30s`, `5m` or `2h`";
    deserializer.deserialize_str(Written { expecting, parse })
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
