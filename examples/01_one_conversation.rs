//! One conversation: talk to the built-in policy for four turns, and answer the tool it calls.
//!
//! ```console
//! $ cargo run --release --example 01_one_conversation
//! ```
#![allow(clippy::print_stdout, reason = "showing something is what it is for")]

use stateset_agents::prelude::*;

fn main() -> anyhow::Result<()> {
    let policy = model::load(model::BUILTIN)?;
    let order = |call: &ToolCall| match call.name.as_str() {
        "lookup_order" => r#"{"status":"lost"}"#.to_owned(),
        name => format!(r#"{{"error":"there is no {name}"}}"#),
    };
    let mut chat = Chat::new(&policy, Sampling::default().greedy(), Stream::new(0))?.with_tools(order);

    let mut said = Vec::new();
    for line in [
        "hi, my account is K7Q2M. it is cheaper today.",
        "also, my parcel never came.",
        "one more thing, i moved house. no update please.",
        "thanks. what did you do for me?",
    ] {
        println!("user       {line}");
        for Message { role, content } in chat.say(line)? {
            println!("{:<10} {content}", role.name());
            said.push((role, content));
        }
    }

    let looked_up = said.iter().any(|(role, text)| *role == Role::Tool && text.contains("lost"));
    assert!(looked_up, "the parcel has to be looked up");
    let answered = |(role, text): &(Role, String)| *role != Role::Assistant || text.contains("K7Q2M");
    assert!(said.iter().all(answered), "the account was given once, and is remembered");
    Ok(())
}
