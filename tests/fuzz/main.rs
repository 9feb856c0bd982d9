//! Every reader of strangers' files is given millions of files that are almost right.
//!
//! Inputs are seeds, and what earlier inputs were accepted, changed at random: the same seed gives the same inputs. One execution fails if
//! it panics or allocates more than 64 MB beyond its input; the input is then kept under `target/fuzz`.

// Clippy lets only functions marked #[test] unwrap, not what they call.
#![allow(clippy::unwrap_used)]

mod allocator;
mod mutate;
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use stateset_domain::Stream;

use mutate::mutate;
use targets::{Target, targets};

/// What one execution may hold at a time, bytes.
const MOST: usize = 64 << 20;
/// Accepted inputs that are kept to be changed further.
const KEPT: usize = 64;

/// What a target went through.
struct Record {
    name: &'static str,
    reads: &'static str,
    executions: u64,
    accepted: u64,
    peak: usize,
    took: Duration,
}

/// What the last panic said: those that are looked for are not printed.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Runs `target` on `executions` inputs that depend on `seed` alone.
fn run(target: &Target, executions: u64, seed: u64) -> Record {
    let (mut pool, mut accepted, mut peak) = (target.seeds.clone(), 0, 0);
    // What is accepted would grow and grow, and inputs are worth more than bytes.
    let longest = 2 * target.seeds.iter().map(Vec::len).max().unwrap();
    let (root, begun) = (Stream::new(seed), Instant::now());
    for execution in 0..executions {
        let mut stream = root.fork(execution);
        let mut input = pool[stream.below(pool.len())].clone();
        let other = &pool[stream.below(pool.len())];
        mutate(&mut input, other, &mut stream);
        input.truncate(longest);
        let before = allocator::begin();
        let read = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        let held = allocator::peak_since(before);
        peak = peak.max(held);
        let why = match &read {
            Err(_) => Some(format!("panicked: {}", LAST_PANIC.lock().unwrap())),
            Ok(_) if held > MOST => Some(format!("held {held} bytes")),
            Ok(_) => None,
        };
        if let Some(why) = why {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
            fs::create_dir_all(&folder).unwrap();
            let path = folder.join(format!("{}-{seed}-{execution}", target.name));
            fs::write(&path, &input).unwrap();
            panic!("{} {why}\n  seed {seed}, execution {execution}, kept as {}", target.name, path.display());
        }
        if read.is_ok_and(|accepted| accepted) {
            accepted += 1;
            if pool.len() < target.seeds.len() + KEPT {
                pool.push(input);
            } else {
                let at = target.seeds.len() + stream.below(KEPT);
                pool[at] = input;
            }
        }
    }
    let Target { name, reads, .. } = *target;
    eprintln!("{name}: {executions} executions, {accepted} accepted");
    Record { name, reads, executions, accepted, peak, took: begun.elapsed() }
}

/// Runs every target for its share of `of_ten_million`.
fn run_all(of_ten_million: f64, seed: u64) -> Vec<Record> {
    let printed = std::panic::take_hook();
    std::panic::set_hook(Box::new(|panic| *LAST_PANIC.lock().unwrap() = panic.to_string()));
    let run = |target: &Target| run(target, (target.share as f64 * of_ten_million) as u64, seed);
    let records = catch_unwind(|| targets().iter().map(run).collect());
    std::panic::set_hook(printed);
    match records {
        Ok(records) => records,
        Err(_) => panic!("{}", LAST_PANIC.lock().unwrap()),
    }
}

#[test]
fn a_few_thousand_broken_files_of_every_kind_are_refused_in_good_order() {
    for record in run_all(0.002, 1) {
        assert!(record.accepted > 0, "no input of {} was ever accepted: the mutations are too coarse", record.name);
    }
}

#[test]
#[ignore = "minutes; writes docs/fuzzing.md"]
fn ten_million_broken_files_are_refused_in_good_order() {
    let records = run_all(1.0, 2);
    let total: u64 = records.iter().map(|record| record.executions).sum();
    assert!(total >= 10_000_000, "{total} executions");
    let mut page = String::from(include_str!("page.md"));
    for Record { name, reads, executions, accepted, peak, took } in &records {
        let (took, peak) = (took.as_secs_f64(), *peak as f64 / 1e6);
        page += &format!("| {name} | {reads} | {executions} | {accepted} | {peak:.2} | {took:.0} |\n");
    }
    page += &format!("| all | | {total} | | | |\n");
    fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fuzzing.md"), page).unwrap();
}
