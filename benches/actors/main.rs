//! What our layer costs beside raw tokio, bare ractor and kameo.
//!
//! `cargo bench -p stateset-benches --bench actors` prints the tables; with `-- B6` only that one, with `-- --quick` all of them in a few
//! seconds, to see that they run.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on should panic, and it prints"
)]

mod footprint;
mod lives;
mod load;
mod messages;
mod rivals;

use messages::Size;
use stateset_benches::Table;

/// As in the command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let size = if quick {
        Size { asks: 2_000, tells: 20_000, producers: 8, fan_out: 100, rounds: 1 }
    } else {
        Size { asks: 100_000, tells: 1_000_000, producers: 8, fan_out: 1_000, rounds: 7 }
    };
    let (spawns, restarts, weighed, jobs, calls) =
        if quick { (500, 50, 2_000, 500, 20_000) } else { (20_000, 2_000, 50_000, 10_000, 2_000_000) };
    // kameo fails by panicking, thousands of times.
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if footprint::weighed(&runtime) {
        return;
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let show = |id: &str, table: &dyn Fn() -> Table| {
        if wanted.is_empty() || wanted.iter().any(|it| it == id) {
            println!("{}", table().render());
        }
    };
    show("B1", &|| messages::ask(&runtime, size));
    show("B2", &|| messages::tell(&runtime, size));
    show("B3", &|| messages::fan_in(&runtime, size));
    show("B4", &|| messages::fan_out(&runtime, size));
    show("B5", &|| lives::spawn(&runtime, spawns, size.rounds));
    show("B5", &|| lives::stop(&runtime, spawns, size.rounds));
    show("B5", &|| footprint::table(weighed));
    show("B6", &|| lives::restart(&runtime, restarts, size.rounds));
    show("B7", &|| lives::recover(&runtime, size.rounds));
    show("B8", &|| load::overload(&runtime, jobs));
    show("B9", &|| load::breaker(calls, size.rounds));
}
