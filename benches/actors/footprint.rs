//! B5, second half: what an idle actor weighs. Each kind is weighed in a process of its own, where nothing else was freed before.

use std::process::Command;

use kameo::actor::Spawn as _;
use ractor::Actor;
use stateset_benches::{Rival, Table, measure, resident};
use tokio::runtime::Runtime;

use crate::rivals::{Counter, KameoCounter, tokio_unbounded};

const KINDS: [&str; 4] = ["ractor", "ours, supervised", "tokio task", "kameo"];
const FLAG: &str = "--weigh";

/// The table, made by running this program once for each kind.
pub(crate) fn table(count: u64) -> Table {
    let weigh = |kind: &'static str| {
        let once: Box<dyn FnMut() -> f64> = Box::new(move || {
            let myself = std::env::current_exe().unwrap();
            let output = Command::new(myself).args([FLAG, kind, &count.to_string()]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
        });
        (kind, once)
    };
    let rivals: Vec<Rival<'_>> = KINDS.into_iter().map(weigh).collect();
    measure("B5 weight of an idle actor, mailbox included", "bytes", 3, rivals)
}

/// If this process was started to weigh one kind: does so, and prints the bytes an actor takes.
pub(crate) fn weighed(runtime: &Runtime) -> bool {
    let arguments: Vec<String> = std::env::args().skip_while(|argument| argument != FLAG).collect();
    let [_, kind, count, ..] = arguments.as_slice() else { return false };
    let count: u64 = count.parse().unwrap();
    let before = resident().unwrap();
    let grown = runtime.block_on(async {
        match kind.as_str() {
            "ractor" => {
                let mut kept = Vec::new();
                for _ in 0..count {
                    kept.push(Actor::spawn(None, Counter, ()).await.unwrap());
                }
                resident().unwrap() - before
            }
            "ours, supervised" => {
                let _kept = crate::lives::many(count).await;
                resident().unwrap() - before
            }
            "tokio task" => {
                let _kept: Vec<_> = (0..count).map(|_| tokio_unbounded()).collect();
                tokio::task::yield_now().await;
                resident().unwrap() - before
            }
            _ => {
                let kept: Vec<_> = (0..count).map(|_| KameoCounter::spawn(KameoCounter(0))).collect();
                for actor in &kept {
                    actor.wait_for_startup().await;
                }
                resident().unwrap() - before
            }
        }
    });
    println!("{}", grown as f64 / count as f64);
    true
}
