//! How a reply says that it is a tool call.
//!
//! | Form                                                   | Read where the template                            |
//! |--------------------------------------------------------|----------------------------------------------------|
//! | `<tool_call>{"name": .., "arguments": {..}}</tool_call>` | contains `<tool_call>` (Qwen, Hermes)              |
//! | `[TOOL_CALLS] [{"name": .., "arguments": {..}}]`       | contains `[TOOL_CALLS]` (Mistral)                  |
//! | `{"name": .., "parameters": {..}}`                     | contains `"parameters"` and `tool_calls` (Llama 3) |
//! | `name {..}`                                            | contains none of these                             |
//!
//! A reply is one call or none: of one that makes several, none is made.

use serde_json::Value;
use stateset_domain::ToolCall;

/// What a template teaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallForm {
    Tagged,
    Listed,
    Bare,
    Named,
}

impl CallForm {
    /// The form that `template` teaches.
    pub(crate) fn of(template: &str) -> Self {
        match template {
            it if it.contains("<tool_call>") => Self::Tagged,
            it if it.contains("[TOOL_CALLS]") => Self::Listed,
            it if it.contains("\"parameters\"") && it.contains("tool_calls") => Self::Bare,
            _ => Self::Named,
        }
    }

    /// What is said before the call, and the call, if `text` makes one.
    pub(crate) fn read(self, text: &str) -> Option<(String, ToolCall)> {
        match self {
            Self::Tagged => {
                let (before, rest) = text.split_once("<tool_call>")?;
                let (call, after) = rest.split_once("</tool_call>")?;
                let call = object(&serde_json::from_str(call).ok()?, "arguments")?;
                (!after.contains("<tool_call>")).then(|| (before.trim_end().to_owned(), call))
            }
            Self::Listed => {
                // The mark is a special token, which the text of a reply does not show.
                let (before, calls) = text.split_once("[TOOL_CALLS]").unwrap_or(("", text));
                let calls: Vec<Value> = serde_json::from_str(calls.trim()).ok()?;
                let [call] = calls.as_slice() else { return None };
                Some((before.trim_end().to_owned(), object(call, "arguments")?))
            }
            Self::Bare => Some((String::new(), object(&serde_json::from_str(text.trim()).ok()?, "parameters")?)),
            Self::Named => Some((String::new(), named(text)?)),
        }
    }
}

fn object(value: &Value, key: &str) -> Option<ToolCall> {
    let (name, arguments) = (value.get("name")?.as_str()?, value.get(key)?);
    arguments.is_object().then(|| ToolCall { name: name.into(), arguments: arguments.clone() })
}

/// Reads `name {json object}`: the whole reply is a call, or none of it is.
fn named(text: &str) -> Option<ToolCall> {
    let (name, arguments) = text.trim().split_once(' ')?;
    let identifier = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let arguments: Value = serde_json::from_str(arguments).ok()?;
    (identifier && arguments.is_object()).then(|| ToolCall { name: name.into(), arguments })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reply_that_is_wholly_a_call_is_a_call() {
        let call = named("lookup_order {\"id\": \"K7Q2M\"}").unwrap();
        assert_eq!((call.name.as_str(), call.arguments["id"].as_str()), ("lookup_order", Some("K7Q2M")));
        for text in
            ["", "hello", "lookup_order", "lookup_order 5", "Lookup {\"id\": 1}", "please lookup_order {\"id\": 1}"]
        {
            assert_eq!(named(text), None, "{text}");
        }
    }

    #[test]
    fn each_form_is_read_where_it_is_taught_and_nowhere_else() {
        let arguments = r#"{"id": "K7"}"#;
        let forms = [
            (
                CallForm::Tagged,
                format!("so.\n<tool_call>\n{{\"name\": \"look\", \"arguments\": {arguments}}}\n</tool_call>"),
            ),
            (CallForm::Listed, format!(" [{{\"name\": \"look\", \"arguments\": {arguments}}}]")),
            (CallForm::Bare, format!("{{\"name\": \"look\", \"parameters\": {arguments}}}")),
            (CallForm::Named, format!("look {arguments}")),
        ];
        for (form, _) in &forms {
            for (of, text) in &forms {
                let read = form.read(text);
                assert_eq!(read.is_some(), form == of, "{form:?} {text}");
                if let Some((before, call)) = read {
                    assert_eq!(
                        (before.as_str(), call.to_string().as_str()),
                        (if *of == CallForm::Tagged { "so." } else { "" }, "look {\"id\":\"K7\"}")
                    );
                }
            }
        }
    }

    #[test]
    fn of_several_calls_none_is_made() {
        let call = "<tool_call>{\"name\": \"look\", \"arguments\": {}}</tool_call>";
        assert!(CallForm::Tagged.read(call).is_some());
        assert_eq!(CallForm::Tagged.read(&call.repeat(2)), None);
        assert_eq!(CallForm::Listed.read(r#"[{"name": "a", "arguments": {}}, {"name": "b", "arguments": {}}]"#), None);
    }
}
