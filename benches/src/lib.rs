//! How measurements are taken: rivals in turn, several rounds, medians and ratios.
//!
//! A machine's speed drifts, so rivals are never measured one after the other. Each round measures all of them, in an order that moves
//! on by one, and a ratio is the median of the rounds' own ratios. Every table names its baseline.

use std::fmt::Write as _;

use serde::Serialize;

/// One thing measured in several ways.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// What is measured.
    pub title: String,
    /// Unit of every value.
    pub unit: String,
    /// The rivals, the baseline first.
    pub rows: Vec<Row>,
}

/// One rival's values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The rival.
    pub name: String,
    /// Median over the rounds.
    pub median: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Median over the rounds of value / the baseline's value in the same round.
    pub ratio: f64,
}

/// A rival: its name, and how to measure it once.
pub type Rival<'a> = (&'a str, Box<dyn FnMut() -> f64 + 'a>);

/// Measures `rivals`, the baseline first, in `rounds` interleaved rounds.
///
/// # Panics
/// If there are no rivals or no rounds.
#[must_use]
pub fn measure(title: &str, unit: &str, rounds: usize, mut rivals: Vec<Rival<'_>>) -> Table {
    let count = rivals.len();
    let mut values = vec![Vec::with_capacity(rounds); count];
    for round in 0..rounds {
        for turn in 0..count {
            let at = (round + turn) % count;
            values[at].push((rivals[at].1)());
        }
    }
    let row = |at: usize| Row {
        name: rivals[at].0.to_owned(),
        median: median(values[at].clone()),
        min: values[at].iter().copied().fold(f64::INFINITY, f64::min),
        max: values[at].iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ratio: median(values[at].iter().zip(&values[0]).map(|(value, base)| value / base).collect()),
    };
    Table { title: title.to_owned(), unit: unit.to_owned(), rows: (0..count).map(row).collect() }
}

/// The middle value; the mean of the two in the middle of an even number.
///
/// # Panics
/// If there are none.
#[must_use]
pub fn median(values: Vec<f64>) -> f64 {
    percentile(values, 0.5)
}

/// The value below which a share `p` of `values` lies, interpolated.
///
/// # Panics
/// If there are none.
#[must_use]
pub fn percentile(mut values: Vec<f64>, p: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = p * (values.len() - 1) as f64;
    let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

impl Table {
    /// The table as text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("{} [{}]\n", self.title, self.unit);
        for Row { name, median, min, max, ratio } in &self.rows {
            let [median, min, max] = [median, min, max].map(|value| short(*value));
            let _ = writeln!(text, "  {name:<24} {median:>10}  ({min} to {max})  x {ratio:.2}");
        }
        text
    }
}

/// A number with three significant digits or so.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{:.2}M", value / 1e6),
        v if v >= 1e4 => format!("{:.1}k", value / 1e3),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// This process' resident memory in bytes, if the system tells.
#[must_use]
pub fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(1024 * line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rivals_take_turns_and_ratios_are_taken_within_a_round() {
        let order = std::cell::RefCell::new(String::new());
        let mut clock = 0.0;
        let mut slow = || {
            clock += 1.0;
            order.borrow_mut().push('s');
            clock
        };
        let table = measure(
            "t",
            "ns",
            3,
            vec![
                (
                    "base",
                    Box::new(|| {
                        order.borrow_mut().push('b');
                        2.0
                    }),
                ),
                ("slow", Box::new(&mut slow)),
            ],
        );
        assert_eq!(*order.borrow(), "bssbbs");
        assert_eq!(
            (table.rows[1].median, table.rows[1].min, table.rows[1].max, table.rows[1].ratio),
            (2.0, 1.0, 3.0, 1.0)
        );
    }

    #[test]
    fn percentiles_interpolate() {
        assert_eq!(percentile(vec![3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(percentile(vec![0.0, 10.0], 0.99), 9.9);
    }
}
