//! The chat template that other tools read and the chat format that we write are the same.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by where it panics")]

use std::sync::Arc;

use minijinja::{Environment, Value, context};
use stateset_agents::prelude::*;
use stateset_chat::ChatFormat;
use stateset_domain::Tokenizer;

const SPECIAL: [&str; 5] = ["<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>"];

/// Rendered text as ids: its special tokens, and the encodings of what stands between them.
fn ids(mut text: &str, tokenizer: &dyn Tokenizer) -> Vec<u32> {
    let mut ids = Vec::new();
    while !text.is_empty() {
        let next = SPECIAL.iter().filter_map(|token| Some((text.find(token)?, *token))).min();
        let (at, token) = next.unwrap_or((text.len(), ""));
        ids.extend(tokenizer.encode(&text[..at]).unwrap());
        ids.extend(tokenizer.special(token));
        text = &text[at + token.len()..];
    }
    ids
}

#[test]
fn the_template_of_the_built_in_policy_renders_what_the_chat_format_does() {
    let policy = model::load(model::BUILTIN).unwrap();
    let file = policy.files.iter().find(|file| file.name == "tokenizer_config.json").unwrap();
    let config: serde_json::Value = serde_json::from_slice(&file.bytes).unwrap();
    let format = ChatFormat::new(Arc::new(policy.tokenizer.clone())).unwrap();
    let messages = [
        Message::new(Role::System, "be brief."),
        Message::new(Role::User, "hi, my account is K7Q2M. where is my order?"),
        Message::new(Role::Assistant, "lookup_order {\"id\":\"K7Q2M\"}"),
        Message::new(Role::Tool, "{\"status\":\"lost\"}"),
    ];
    let mut ours: Vec<u32> = messages.iter().flat_map(|message| format.message(message).unwrap()).collect();
    ours.extend(format.open_reply());
    let value = |message: &Message| context! { role => message.role.name(), content => message.content.as_str() };
    let messages: Vec<Value> = messages.iter().map(value).collect();
    let template = config["chat_template"].as_str().unwrap();
    let rendered =
        Environment::new().render_str(template, context! { messages, add_generation_prompt => true }).unwrap();
    assert_eq!(ids(&rendered, &policy.tokenizer), ours);
}
