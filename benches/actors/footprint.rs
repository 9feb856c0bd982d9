//! B5, second half: what an idle actor weighs. Each kind is weighed in a process of its own, where nothing else was freed before.

use std::process::Command;

use stateset_benches::{Rival, Table, measure, resident};
use tokio::runtime::Runtime;

use crate::rivals::{Channel, Client, Kameo, Ours, Ractor};

const KINDS: [&str; 4] = [Ractor::NAME, Ours::NAME, Channel::NAME, Kameo::NAME];
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
    let grown = runtime.block_on(async {
        match kind.as_str() {
            Ractor::NAME => weigh::<Ractor>(count).await,
            Ours::NAME => weigh::<Ours>(count).await,
            Channel::NAME => weigh::<Channel>(count).await,
            _ => weigh::<Kameo>(count).await,
        }
    });
    println!("{}", grown as f64 / count as f64);
    true
}

/// Bytes that the process grows by.
async fn weigh<C: Client>(count: u64) -> u64 {
    let before = resident().unwrap();
    let (clients, life) = C::begin(count).await;
    for client in &clients {
        client.ask().await;
    }
    let grown = resident().unwrap() - before;
    C::end(clients, life).await;
    grown
}
