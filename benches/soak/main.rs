//! Eight hours in a few minutes: a real run that is disturbed all the time, and what it does to memory and disk.
//!
//! `cargo bench -p stateset-benches --bench soak -- --minutes 5`. Timers are accelerated, work is not: every period, deadline and
//! wait of the configuration is shortened by the factor that eight hours are, and so is the room for logs, so that they run out as
//! often as they would; training is that of the built-in policy. Every five accelerated minutes one of the seven actors panics, in
//! turn. The benchmark fails if memory or disk in the last quarter is more than a tenth above that in the second, or if an episode is
//! lost.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on should panic, and it prints"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use stateset_agents::config::Backoff;
use stateset_agents::prelude::*;
use stateset_benches::{median, resident};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is to be lived through.
const LIFETIME: Duration = Duration::from_secs(8 * 3600);
/// Accelerated time between two panics.
const PEACE: Duration = Duration::from_secs(300);
/// Samples of memory and disk.
const SAMPLES: u32 = 200;
/// The most that memory and disk may grow from the second quarter to the last.
const GROWTH: f64 = 1.1;

/// Panics in each actor in turn, as often as told.
struct Turns {
    began: Instant,
    every: Duration,
    fired: AtomicUsize,
}

impl Probe for Turns {
    fn visit(&self, site: Site) -> Visit {
        let fired = self.fired.load(SeqCst);
        let due = self.every * u32::try_from(fired + 1).unwrap_or(u32::MAX);
        if site == Site::ALL[fired % Site::ALL.len()]
            && self.began.elapsed() >= due
            && self.fired.compare_exchange(fired, fired + 1, SeqCst, SeqCst).is_ok()
        {
            panic!("disturbance {fired} at {site}");
        }
        Visit::Pass
    }
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let minutes = std::env::args().skip_while(|argument| argument != "--minutes").nth(1);
    let minutes: f64 = minutes.map_or(if quick { 0.25 } else { 5.0 }, |minutes| minutes.parse().unwrap());
    let real = Duration::from_secs_f64(60.0 * minutes);
    let factor = LIFETIME.as_secs_f64() / real.as_secs_f64();
    // Panics are told in events.jsonl.
    std::panic::set_hook(Box::new(|_| {}));
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(live(folder.path(), real, factor));
}

async fn live(folder: &Path, real: Duration, factor: f64) {
    let turns = Arc::new(Turns { began: Instant::now(), every: PEACE.div_f64(factor), fired: AtomicUsize::new(0) });
    let run = Runtime::builder().config(config(folder, factor)).probe(turns.clone()).build().unwrap();
    let (files, interrupter, vitals) = (run.files().folder().to_owned(), run.interrupter(), run.vitals());
    let running = tokio::spawn(run.run());
    let (mut memory, mut disk) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        tokio::time::sleep(real / SAMPLES).await;
        assert!(!running.is_finished(), "it ended before its time: {:?}", running.await.unwrap().err());
        memory.push(resident().unwrap_or(0) as f64 / 1e6);
        disk.push(size(&files) as f64 / 1e6);
    }
    interrupter.interrupt();
    let summary = running.await.unwrap().unwrap().summary;
    let quarter =
        |values: &[f64], at: usize| median(values[at * values.len() / 4..(at + 1) * values.len() / 4].to_vec());
    let done = vitals.read();
    println!("{:.0} hours at {factor:.0} times the speed", LIFETIME.as_secs_f64() / 3600.0);
    println!("  {} steps taken, {} episodes, {} tokens sampled", done.steps, done.episodes, done.tokens);
    println!("  {} disturbances, {} restarts", turns.fired.load(SeqCst), summary.restarts);
    println!("  episodes lost {}, duplicated {}", summary.episodes_lost, summary.episodes_duplicated);
    for (name, values) in [("memory", &memory), ("disk", &disk)] {
        let quarters: Vec<String> = (0..4).map(|at| format!("{:.1}", quarter(values, at))).collect();
        println!("  {name} by quarter [MB]: {}", quarters.join(", "));
    }
    assert_eq!((summary.episodes_lost, summary.episodes_duplicated), (0, 0));
    for (name, values) in [("memory", &memory), ("disk", &disk)] {
        assert!(quarter(values, 3) <= GROWTH * quarter(values, 1), "{name} grows: {values:?}");
    }
}

/// Small steps without end, with every time shortened by `factor`.
fn config(folder: &Path, factor: f64) -> Config {
    let mut config = Config::from_file(Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/smoke.yaml")).unwrap();
    config.run.output_dir = folder.to_owned();
    config.training.steps = 10_000_000;
    config.training.save_every = 20;
    config.training.learning_rate = 1e-6;
    config.evaluation.episodes = 8;
    config.run.log_size = ((config.run.log_size as f64 / factor) as u64).max(64 << 10);
    let supervision = &mut config.supervision;
    let deadlines = &mut supervision.deadlines;
    // What waits for real work may not be shortened below what the work takes.
    let Backoff { min, max, .. } = &mut supervision.backoff;
    for wait in [&mut deadlines.stall, min, max, &mut supervision.restarts.within] {
        *wait = wait.div_f64(factor).max(Duration::from_millis(1));
    }
    deadlines.stall = deadlines.stall.max(Duration::from_secs(3));
    config
}

fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    // A file may go while it is being looked at.
    let entries = entries.flatten().filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)));
    entries.map(|(path, file)| if file.is_dir() { size(&path) } else { file.len() }).sum()
}
