//! A line of a file, as messages.

use serde_json::{Map, Value};
use stateset_domain::{Message, Role};

use super::fault::Fault;
use crate::config::quoted;

/// Who may speak.
const ROLES: [Role; 4] = [Role::System, Role::User, Role::Assistant, Role::Tool];

/// What a message looks like.
const MESSAGE: &str = "{\"role\": \"user\", \"content\": \"...\"}";

/// Two conversations that begin with the same `prompt`.
#[derive(Debug, PartialEq)]
pub(super) struct Pair {
    pub(super) prompt: Vec<Message>,
    pub(super) chosen: Vec<Message>,
    pub(super) rejected: Vec<Message>,
}

/// Reads `{"messages": [...]}`. Other keys are for others.
pub(super) fn conversation(line: &str) -> Result<Vec<Message>, Fault> {
    let object = object(line)?;
    let messages = messages(&object, "messages")?;
    speaks(&messages, "messages")?;
    Ok(messages)
}

/// Reads `{"prompt": [...], "chosen": [...], "rejected": [...]}`. Other keys are for others.
pub(super) fn pair(line: &str) -> Result<Pair, Fault> {
    let object = object(line)?;
    let of = |key| messages(&object, key);
    let pair = Pair { prompt: of("prompt")?, chosen: of("chosen")?, rejected: of("rejected")? };
    speaks(&pair.chosen, "chosen")?;
    speaks(&pair.rejected, "rejected")?;
    if pair.chosen == pair.rejected {
        return Err(Fault::new("`chosen` and `rejected` are the same", "two answers, of which one is better"));
    }
    Ok(pair)
}

fn object(line: &str) -> Result<Map<String, Value>, Fault> {
    match serde_json::from_str(line) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(Fault::new(format!("it is {}", kind(&other)), "a JSON object")),
        Err(error) => {
            let said = error.to_string();
            let said = said.split(" at line ").next().unwrap_or_default();
            Err(Fault::new(format!("it is not JSON: {said}, in column {}", error.column()), "a JSON object"))
        }
    }
}

fn messages(object: &Map<String, Value>, key: &str) -> Result<Vec<Message>, Fault> {
    let allowed = format!("a list of messages, each {MESSAGE}");
    match object.get(key) {
        Some(Value::Array(list)) if list.is_empty() => {
            Err(Fault::new(format!("`{key}` is empty"), "at least one message"))
        }
        Some(Value::Array(list)) => list.iter().enumerate().map(|(at, it)| message(it, at + 1, key)).collect(),
        Some(other) => Err(Fault::new(format!("`{key}` is {}", kind(other)), allowed)),
        None => {
            let written = object.keys().map(String::as_str);
            Err(Fault::new(format!("it has no `{key}`"), allowed)
                .near(key, written, |it| format!("is `{it}` meant to be that?")))
        }
    }
}

/// The message at place `at` of `key`. A key that is not understood, such as `tool_calls`, may hold what was said: it is not passed over.
fn message(value: &Value, at: usize, key: &str) -> Result<Message, Fault> {
    let place = format!("message {at} of `{key}`");
    let Value::Object(fields) = value else {
        return Err(Fault::new(format!("{place} is {}", kind(value)), MESSAGE));
    };
    if let Some(unknown) = fields.keys().find(|field| !["role", "content"].contains(&field.as_str())) {
        return Err(Fault::new(format!("{place} has an unknown key `{unknown}`"), quoted(&["role", "content"])));
    }
    let text = |field: &str| match fields.get(field) {
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => Err(Fault::new(format!("{place} has {} as its `{field}`", kind(other)), "text")),
        None => Err(Fault::new(format!("{place} has no `{field}`"), MESSAGE)),
    };
    let (name, content) = (text("role")?, text("content")?);
    let names = ROLES.map(Role::name);
    let role = ROLES.into_iter().find(|role| role.name() == name);
    let unknown = || {
        Fault::new(format!("{place} has the unknown role `{name}`"), quoted(&names))
            .near(name, names, |it| format!("did you mean `{it}`?"))
    };
    Ok(Message::new(role.ok_or_else(unknown)?, content))
}

fn speaks(messages: &[Message], key: &str) -> Result<(), Fault> {
    if messages.iter().any(|message| message.role == Role::Assistant) {
        return Ok(());
    }
    let message = format!("the assistant says nothing in `{key}`, so nothing is to be learned from it");
    Err(Fault::new(message, "at least one message of the role `assistant`"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETED: &str = r#"[{"role":"user","content":"hello"},{"role":"assistant","content":"good day"}]"#;

    fn told(line: &str) -> String {
        conversation(line).unwrap_err().problem("", "here").to_string()
    }

    #[test]
    fn a_conversation_is_its_messages_and_what_stands_beside_them_is_for_others() {
        let read = conversation(&format!("{{\"id\":7,\"messages\":{GREETED}}}")).unwrap();
        assert_eq!(read, [Message::new(Role::User, "hello"), Message::new(Role::Assistant, "good day")]);
    }

    #[test]
    fn a_pair_may_go_on_for_several_messages() {
        let longer = GREETED.replace("hello", "and now?");
        let read = pair(&format!("{{\"prompt\":{GREETED},\"chosen\":{GREETED},\"rejected\":{longer}}}")).unwrap();
        assert_eq!((read.prompt.len(), read.chosen.len(), read.rejected[0].content.as_str()), (2, 2, "and now?"));
    }

    #[test]
    fn what_is_not_as_it_should_be_is_told_with_what_should_be_there() {
        for (line, message, note) in [
            (r#"{"messages": ["#, "it is not JSON: EOF while parsing a list, in column 14", "a JSON object"),
            ("[]", "it is a list", "a JSON object"),
            (r#"{"mesages": []}"#, "it has no `messages`", "is `mesages` meant to be that?"),
            (r#"{"messages": []}"#, "`messages` is empty", "at least one message"),
            (r#"{"messages": "hi"}"#, "`messages` is text", "a list of messages"),
            (r#"{"messages": [7]}"#, "message 1 of `messages` is a number", MESSAGE),
            (r#"{"messages": [{"role":"user"}]}"#, "message 1 of `messages` has no `content`", MESSAGE),
            (r#"{"messages": [{"role":"user","content":null}]}"#, "has nothing as its `content`", "text"),
            (
                r#"{"messages": [{"role":"asistant","content":"hi"}]}"#,
                "message 1 of `messages` has the unknown role `asistant`",
                "did you mean `assistant`?",
            ),
            (r#"{"messages": [{"role":"human","content":"hi"}]}"#, "`human`", "`system`, `user`, `assistant`, `tool`"),
            (
                r#"{"messages": [{"role":"assistant","content":"","tool_calls":[]}]}"#,
                "has an unknown key `tool_calls`",
                "`role`, `content`",
            ),
            (r#"{"messages": [{"role":"user","content":"hi"}]}"#, "the assistant says nothing", "`assistant`"),
        ] {
            let told = told(line);
            assert!(told.contains(message) && told.contains(note), "{line}: {told}");
        }
    }

    #[test]
    fn a_pair_needs_a_beginning_and_two_answers_that_differ() {
        let told = |prompt: &str, chosen: &str, rejected: &str| {
            let line = format!("{{\"prompt\":{prompt},\"chosen\":{chosen},\"rejected\":{rejected}}}");
            pair(&line).unwrap_err().problem("", "here").to_string()
        };
        assert!(told("[]", GREETED, GREETED).contains("`prompt` is empty"));
        assert!(told(GREETED, GREETED, GREETED).contains("`chosen` and `rejected` are the same"));
        let silent = r#"[{"role":"user","content":"hello"}]"#;
        assert!(told(GREETED, GREETED, silent).contains("the assistant says nothing in `rejected`"));
    }
}
