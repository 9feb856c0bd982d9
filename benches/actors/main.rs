//! What our layer costs beside raw tokio, bare ractor and kameo.
//!
//! `cargo bench -p stateset-benches --bench actors` prints the tables; with `-- --quick` in a few seconds, to see that all of it runs.

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
    let show = |table: Table| println!("{}", table.render());
    show(messages::ask(&runtime, size));
    show(messages::tell(&runtime, size));
    show(messages::fan_in(&runtime, size));
    show(messages::fan_out(&runtime, size));
    show(lives::spawn(&runtime, spawns, size.rounds));
    show(lives::restart(&runtime, restarts, size.rounds));
    show(lives::recover(&runtime, size.rounds));
    show(footprint::table(weighed));
    show(load::overload(&runtime, jobs));
    show(load::breaker(calls, size.rounds));
}
