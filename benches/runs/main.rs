//! Whole runs with a policy that costs nothing: what an episode costs on its way, and ten thousand at once.
//!
//! `cargo bench -p stateset-benches --bench runs`; with `-- --quick` in a few seconds, to see that all of it runs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on should panic, and it prints"
)]

mod crowd;
mod path;
mod reload;
mod scripted;

use stateset_benches::{Rival, measure, percentile};

/// The optimizer step that an episode is held against.
const STEP_SECONDS: f64 = 0.005;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (steps, rounds, crowd, reloads) = if quick { (3, 1, 400, 5) } else { (40, 5, 10_000, 200) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
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
}
