//! Whole runs: what actors cost a training step of the quick start; and with a policy that costs nothing, what an episode costs on its way,
//! and ten thousand at once.
//!
//! `cargo bench -p stateset-benches --bench runs`, or with `-- overhead` the first of it only; with `-- --quick` in a few seconds, to see that
//! all of it runs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on should panic, and it prints"
)]

mod crowd;
mod overhead;
mod path;
mod reload;
mod scripted;

use std::path::Path;

use overhead::{Course, Steps};
use stateset_benches::{Rival, measure, median, percentile};
use tokio::runtime::Runtime;

/// The optimizer step that an episode is held against.
const STEP_SECONDS: f64 = 0.005;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let asked = |word: &str| std::env::args().any(|argument| argument == word);
    let quick = asked("--quick");
    let (steps, rounds, crowd, reloads) = if quick { (3, 1, 400, 5) } else { (40, 5, 10_000, 200) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    if asked("overhead") {
        return overhead(&runtime, folder.path(), quick);
    }
    // First, while the process has freed nothing that could be used again.
    let whole = runtime.block_on(crowd::gather(folder.path(), crowd, true));
    println!("{crowd} conversations at once");
    println!("  memory                   {:.1} KiB each", whole.bytes_each / 1024.0);
    println!("  one step, three turns    {:.2} s, {} lost", whole.seconds, whole.lost);
    let ended = runtime.block_on(crowd::gather(folder.path(), crowd, false));
    println!("  interrupted to ended     {:.2} s, {} lost\n", ended.seconds, ended.lost);

    let reloaded = runtime.block_on(reload::reload(folder.path(), reloads));
    let took = |p| percentile(reloaded.milliseconds.clone(), p);
    println!("B10 reload: one of 50 actors is told something else, {reloads} times in a run that goes on [ms]");
    println!(
        "  p50 {:.2}, p99 {:.2}; {} episodes meanwhile, {} lost\n",
        took(0.5),
        took(0.99),
        reloaded.episodes,
        reloaded.lost
    );

    let rivals: Vec<Rival<'_>> = [("1 KiB an episode", 1), ("16 KiB", 16), ("64 KiB", 64)]
        .map(|(name, kib)| {
            let (runtime, folder) = (&runtime, folder.path());
            let once: Box<dyn FnMut() -> f64> =
                Box::new(move || runtime.block_on(path::episodes_per_second(folder, steps, kib * 1024)));
            (name, once)
        })
        .into();
    let table = measure("B11 episode path: conversation, environment, judge, learner", "episodes/s", rounds, rivals);
    println!("{}", table.render());
    let each = 1.0 / table.rows[0].median;
    println!(
        "  an episode of 1 KiB costs {:.0} us, {:.1} % of a step of 5 ms",
        each * 1e6,
        100.0 * each / STEP_SECONDS
    );
    overhead(&runtime, folder.path(), quick);
}

/// The quick start's steps under supervision and by hand, each time in an order of its own.
fn overhead(runtime: &Runtime, folder: &Path, quick: bool) {
    let (rounds, course) = match quick {
        true => (1, Course { warm: 1, measured: 1 }),
        false => (6, Course { warm: 3, measured: 5 }),
    };
    let (mut supervised, mut by_hand) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for first in [round % 2 == 0, round % 2 == 1] {
            match first {
                true => supervised.push(runtime.block_on(overhead::supervised(folder, course))),
                false => by_hand.push(overhead::by_hand(folder, course)),
            }
        }
    }
    let pairs = || supervised.iter().zip(&by_hand);
    assert!(pairs().all(|(a, b)| a.digest == b.digest), "both take the same steps");
    println!("B12 a step of the quick start, {} of each [ms]", rounds * course.measured);
    let row = |name: &str, runs: &[Steps]| {
        let of = |part: &dyn Fn(&Steps) -> Vec<f64>| 1e3 * median(runs.iter().flat_map(part).collect());
        let rollout = of(&|run| run.parts.iter().map(|(rollout, _)| *rollout).collect());
        let train = of(&|run| run.parts.iter().map(|(_, train)| *train).collect());
        let whole = of(&|run| run.seconds.clone());
        println!("  {name:<24} {whole:.1} in the middle: rollout {rollout:.1}, optimizer {train:.1}");
    };
    row("by hand, in one loop", &by_hand);
    row("supervised actors", &supervised);
    // A step is held against the same step of the same round.
    let ratios = pairs().flat_map(|(a, b)| a.seconds.iter().zip(&b.seconds).map(|(a, b)| a / b));
    let ratios: Vec<f64> = ratios.collect();
    let at = |p| percentile(ratios.clone(), p);
    println!("  ratio                    x {:.3} ({:.3} to {:.3})", at(0.5), at(0.0), at(1.0));
}
