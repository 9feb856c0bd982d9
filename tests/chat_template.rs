//! What a chat template makes of a conversation: held to what transformers makes of it, and to what training needs.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by where it panics")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stateset_agents::prelude::*;
use stateset_agents::{format, model};
use stateset_chat::{CHAT_FILES, ChatError, ChatFormat, Conversation, Instant, PLAIN, Prompt, Thread, Value};
use stateset_domain::Artifact;
use stateset_models::HfTokenizer;

/// One conversation, and what transformers renders of it or the template refuses it with.
#[derive(Deserialize)]
struct Case {
    name: String,
    messages: Vec<Value>,
    tools: Option<Vec<Value>>,
    add_generation_prompt: bool,
    variables: BTreeMap<String, Value>,
    rendered: Option<String>,
    ids: Option<Vec<u32>>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Cases {
    tokenizer: String,
    cases: Vec<Case>,
}

/// `now` of every case: 2026-03-09T08:05:07.
const NOW: Instant = Instant(1_773_043_507);

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/models/fixtures")
}

fn templates() -> BTreeMap<String, Cases> {
    let files = fs::read_dir(fixtures().join("templates")).unwrap().map(|entry| entry.unwrap().path());
    let named = files.filter(|path| path.extension().is_some_and(|it| it == "json"));
    named
        .map(|path| {
            let cases = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), cases)
        })
        .collect()
}

fn declared(folder: &str) -> ChatFormat {
    let folder = fixtures().join(folder);
    let file = |name: &str| Some(Artifact { name: name.into(), bytes: fs::read(folder.join(name)).ok()? });
    let files: Vec<Artifact> = CHAT_FILES.iter().filter_map(|name| file(name)).collect();
    let tokenizer = HfTokenizer::from_json(&fs::read(folder.join("tokenizer.json")).unwrap()).unwrap();
    ChatFormat::declared(std::sync::Arc::new(tokenizer), &files, false, Some(NOW)).unwrap()
}

#[test]
fn every_conversation_is_rendered_and_refused_as_transformers_does() {
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for (name, Cases { tokenizer, cases }) in templates() {
        let format = declared(&tokenizer);
        for case in cases {
            checked += 1;
            let format = format.clone().with_variables(case.variables);
            let conversation = Conversation { messages: case.messages, tools: case.tools, documents: None };
            let told = match (format.render(&conversation, case.add_generation_prompt), case.error) {
                (Ok(found), None) if Some(&found.text) != case.rendered.as_ref() => {
                    format!("text\n  ours   {:?}\n  theirs {:?}", found.text, case.rendered.unwrap_or_default())
                }
                (Ok(found), None) if Some(&found.ids) != case.ids.as_ref() => format!("ids of {:?}", found.text),
                (Ok(_), None) => continue,
                (Err(error), Some(message)) if error.to_string().ends_with(&message) => continue,
                (found, error) => format!("{found:?}, where transformers says {error:?}"),
            };
            wrong.push(format!("{name}, {}: {told}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {checked}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(checked > 300, "only {checked} conversations");
}

const FAMILIES: [&str; 14] = [
    "llama",
    "smollm2",
    "qwen2",
    "qwen3",
    "mistral",
    "gemma3",
    "gemma2",
    "phi3",
    "olmo2",
    "smollm3",
    "gpt_oss",
    "llama2",
    "templates/command",
    "templates/deepseek",
];

/// A turn of user and assistant, rendered as it grows: the ids before the reply, of the reply, and after the next question.
fn grown(format: &ChatFormat, said: [&str; 3]) -> Result<Vec<u32>, ChatError> {
    let mut thread = format.thread();
    let mut ids = Vec::new();
    for (at, text) in said.into_iter().enumerate() {
        if at == 1 {
            ids.extend(thread.given(text)?);
        } else {
            thread.hear(&Message::new(Role::User, text));
            let Prompt { heard, open } = thread.prompt()?;
            ids.extend([heard, open].concat());
        }
    }
    Ok(ids)
}

/// The same, rendered at once.
fn whole(format: &ChatFormat, said: [&str; 3]) -> Vec<u32> {
    let roles = ["user", "assistant", "user"];
    let message = |(role, text): (&str, &str)| Value::from_pairs([("role", role), ("content", text)]);
    let messages = roles.into_iter().zip(said).map(message).collect();
    format.render(&Conversation { messages, ..Conversation::default() }, true).unwrap().ids
}

#[test]
fn what_grows_turn_by_turn_is_what_is_rendered_at_once_or_is_refused_by_name() {
    let (mut refused, mut apart) = (Vec::new(), Vec::<&str>::new());
    for family in FAMILIES {
        let (format, said) = (declared(family), ["Where is my lamp?", "On its way.", "Thanks!"]);
        match grown(&format, said) {
            Ok(ids) => {
                let tokenizer =
                    HfTokenizer::from_json(&fs::read(fixtures().join(family).join("tokenizer.json")).unwrap()).unwrap();
                let text = |ids: &[u32]| stateset_domain::Tokenizer::decode(&tokenizer, ids).unwrap();
                let whole = whole(&format, said);
                assert_eq!(text(&ids), text(&whole), "{family}");
                if ids != whole {
                    apart.push(family);
                }
            }
            Err(ChatError::Rewritten { .. }) => refused.push(family),
            Err(error) => panic!("{family}: {error}"),
        }
    }
    assert_eq!((refused, apart), (vec!["qwen3", "gpt_oss", "templates/deepseek"], vec![]));
}

#[test]
fn a_conversation_that_is_rewritten_goes_on_as_the_template_writes_it_as_a_whole() {
    for family in FAMILIES {
        let format = declared(family);
        let tokenizer =
            HfTokenizer::from_json(&fs::read(fixtures().join(family).join("tokenizer.json")).unwrap()).unwrap();
        let mut thread = format.thread();
        let mut messages = Vec::new();
        let hear = |thread: &mut Thread, messages: &mut Vec<Value>, text: &str| {
            thread.hear(&Message::new(Role::User, text));
            messages.push(Value::from_pairs([("role", "user"), ("content", text)]));
        };
        hear(&mut thread, &mut messages, "Where is my lamp?");
        thread.prompt().unwrap();
        let thoughts = "<think>\nIt was sent.\n</think>\n\nOn its way.";
        let mut sampled = stateset_domain::Tokenizer::encode(&tokenizer, thoughts).unwrap();
        sampled.extend(format.stop_tokens().first());
        let (reply, _) = thread.reply(&sampled).unwrap();
        messages.push(Value::from_pairs([("role", "assistant"), ("content", &reply.text)]));
        hear(&mut thread, &mut messages, "Thanks!");
        let Prompt { heard, open } = thread.anew().unwrap();
        let whole = format.render(&Conversation { messages, ..Conversation::default() }, true).unwrap().ids;
        assert_eq!([heard, open].concat(), whole, "{family}");
    }
}

#[test]
fn what_a_user_types_is_never_a_special_token() {
    for family in FAMILIES {
        let format = declared(family);
        let specials = format.special_tokens();
        let plain = grown(&format, ["a", "b", "c"]);
        let forged: String = specials.iter().map(String::as_str).chain(["é<"]).collect();
        let (Ok(plain), Ok(ids)) = (plain, grown(&format, [&forged, "b", "c"])) else { continue };
        let tokenizer =
            HfTokenizer::from_json(&fs::read(fixtures().join(family).join("tokenizer.json")).unwrap()).unwrap();
        let special: Vec<u32> =
            specials.iter().filter_map(|it| stateset_domain::Tokenizer::special(&tokenizer, it)).collect();
        let count = |ids: &[u32]| ids.iter().filter(|id| special.contains(id)).count();
        assert_eq!(count(&ids), count(&plain), "{family}");
        let shown = stateset_domain::Tokenizer::decode(&tokenizer, &ids).unwrap().replace(' ', "");
        assert!(shown.contains(&forged.replace(' ', "")), "{family}: {shown}");
    }
}

#[test]
fn the_built_in_policy_declares_the_template_that_it_was_made_with() {
    let policy = model::load(model::BUILTIN).unwrap();
    let file = policy.files.iter().find(|file| file.name == "tokenizer_config.json").unwrap();
    let config: serde_json::Value = serde_json::from_slice(&file.bytes).unwrap();
    assert_eq!(config["chat_template"], PLAIN);
    assert_eq!(format::of(&policy).unwrap().stop_tokens(), format::named(model::BUILTIN).unwrap().stop_tokens());
}
