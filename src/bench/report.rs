//! What was found, for people and for programs.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::measure::{Laps, Listener, Progress};
use super::roof::{self, Bandwidth, Threads};
use crate::device::Place;
use crate::machine::{Machine, peak_memory};

/// One measurement.
#[derive(Debug)]
pub(crate) struct Report {
    measured: Measured,
    laps: Laps,
    threads: usize,
    roof: Roof,
    peak: Option<u64>,
    machine: Machine,
}

/// What was measured, and what there was to do.
#[derive(Debug)]
pub(crate) struct Measured {
    /// The measurement's name.
    pub(crate) bench: &'static str,
    /// What was measured, in words.
    pub(crate) title: String,
    /// The settings, and whatever else a program may want to know.
    pub(crate) settings: Map<String, Value>,
    /// Tokens of one repetition.
    pub(crate) tokens: usize,
    /// Which those are.
    pub(crate) counted: &'static str,
    /// What one repetition has to do.
    pub(crate) work: Work,
    /// SHA-256 of what came out of all repetitions: the same settings give the same, on processors of one kind.
    pub(crate) digest: String,
}

/// What must be done, and so which roof it is under.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Work {
    /// So many floating-point operations.
    Products(f64),
    /// So many bytes to be read, and so many more to be read and written, on so many threads.
    Memory {
        /// Read.
        read: f64,
        /// Read or written, where what is read is written somewhere else.
        copied: f64,
        /// By whom.
        threads: Threads,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Roof {
    Product(f64),
    Memory(Bandwidth),
}

impl Report {
    /// Measures the roof beside `measured`, which was computed at `place`.
    ///
    /// # Errors
    /// If a GPU fails.
    pub(crate) fn beside_the_roof(
        measured: Measured,
        place: Place,
        laps: Laps,
        listener: Listener<'_>,
    ) -> Result<Self> {
        // Before the roof's own buffers are allocated.
        let peak = peak_memory();
        listener(Progress::Roof);
        let all = rayon::current_num_threads();
        let (roof, threads) = match measured.work {
            Work::Products(_) => (Roof::Product(roof::product(place)?), all),
            Work::Memory { threads, .. } => {
                let used = match threads {
                    Threads::All => all,
                    Threads::One => 1,
                };
                (Roof::Memory(Bandwidth::measure(threads)), used)
            }
        };
        Ok(Self { measured, laps, threads, roof, peak, machine: Machine::here() })
    }

    /// Operations or bytes of a repetition, and how many a second the roof allows.
    fn amount(&self) -> (f64, f64) {
        match (self.measured.work, self.roof) {
            (Work::Products(operations), Roof::Product(rate)) => (operations, rate),
            (Work::Memory { read, copied, .. }, Roof::Memory(bandwidth)) => {
                let bytes = read + copied;
                (bytes, bytes / (read / bandwidth.read + copied / bandwidth.copy))
            }
            (Work::Products(_), Roof::Memory(_)) | (Work::Memory { .. }, Roof::Product(_)) => {
                unreachable!("the roof is chosen by the work")
            }
        }
    }

    /// One object with everything.
    pub(crate) fn to_json(&self) -> Value {
        let Measured { bench, settings, tokens, counted, digest, .. } = &self.measured;
        let (seconds, (amount, roof)) = (self.laps.least(), self.amount());
        let rate = amount / seconds;
        let mut found = json!({
            "bench": bench,
            "threads": self.threads,
            "repeat": self.laps.len(),
            "seconds_min": seconds,
            "seconds_median": self.laps.median(),
            "tokens": tokens,
            "tokens_counted": counted,
            "tokens_per_second": *tokens as f64 / seconds,
            "share_of_roof": rate / roof,
            "roof": roof / 1e9,
            "peak_rss_bytes": self.peak,
            "digest": digest,
            "machine": self.machine,
        });
        let phase = |(name, least, median): (&str, f64, f64)| {
            (name.to_owned(), json!({ "seconds_min": least, "seconds_median": median }))
        };
        found["phases"] = Value::Object(self.laps.phases().map(phase).collect());
        match self.roof {
            Roof::Product(_) => {
                found["gflops"] = json!(rate / 1e9);
                found["gflop"] = json!(amount / 1e9);
            }
            Roof::Memory(Bandwidth { read, copy }) => {
                found["gigabytes_per_second"] = json!(rate / 1e9);
                found["gigabytes"] = json!(amount / 1e9);
                found["read_gigabytes_per_second"] = json!(read / 1e9);
                found["copy_gigabytes_per_second"] = json!(copy / 1e9);
            }
        }
        for (key, value) in settings {
            found[key] = value.clone();
        }
        found
    }

    /// The same in lines.
    pub(crate) fn to_text(&self) -> String {
        let Measured { bench, title, tokens, counted, digest, .. } = &self.measured;
        let (seconds, (amount, roof)) = (self.laps.least(), self.amount());
        let rate = amount / seconds;
        let mut text = format!("{bench}: {title}\n");
        let mut line = |name: &str, told: String| {
            let _ = writeln!(text, "  {name:<10} {told}");
        };
        let times = match self.laps.len() {
            1 => String::new(),
            times => format!(" at best, {} in the middle of {times}", short(self.laps.median())),
        };
        line("seconds", format!("{}{times}", short(seconds)));
        line("tokens/s", format!("{:.0} {counted}, {tokens} each time", *tokens as f64 / seconds));
        let share = format!("{:.1} %", 100.0 * rate / roof);
        let (rate, roof, amount) = (rate / 1e9, roof / 1e9, amount / 1e9);
        match self.roof {
            Roof::Product(_) => line(
                "GFLOP/s",
                format!("{rate:.0}, {share} of the {roof:.0} of a large product; {} GFLOP each time", short(amount)),
            ),
            Roof::Memory(Bandwidth { read, copy }) => {
                let (read, copy) = (read / 1e9, copy / 1e9);
                let roofs = format!("memory is read at {read:.1} and copied at {copy:.1}");
                line("GB/s", format!("{rate:.1}, {share} of the {roof:.1} it could be; {roofs}"));
            }
        }
        let phases: Vec<String> =
            self.laps.phases().map(|(name, least, _)| format!("{name} {}", short(least))).collect();
        if phases.len() > 1 {
            line("phases", format!("{} s", phases.join(", ")));
        }
        if let Some(peak) = self.peak {
            line("memory", format!("{:.0} MB at the most", peak as f64 / 1e6));
        }
        line("digest", digest[..16].to_owned());
        line("machine", format!("{}; {} used", self.machine, self.threads));
        text
    }
}

/// With three significant digits.
fn short(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v if v >= 0.1 => format!("{v:.3}"),
        v if v >= 0.01 => format!("{v:.4}"),
        v => format!("{v:.2e}"),
    }
}
