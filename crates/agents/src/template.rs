//! A model's chat template: Jinja as Hugging Face's tools run it.
//!
//! A template is a program that came with a model, so it is run as one that nobody vouches for: it reaches nothing but its variables, and
//! what it may compute, nest and write is limited. The clock is a variable like any other.
//!
//! | What it finds           | As in `apply_chat_template`                                                              |
//! |-------------------------|------------------------------------------------------------------------------------------|
//! | white space             | `trim_blocks`, `lstrip_blocks`                                                           |
//! | statements              | `break`, `continue`, `{% generation %}` (of no effect)                                   |
//! | functions               | `raise_exception`, `strftime_now`                                                        |
//! | filters                 | `tojson` as Python's `json.dumps` writes, `string` as `str` does                         |
//! | methods                 | Python's of strings, lists and dictionaries                                              |
//! | variables               | `messages`, `tools`, `documents`, `add_generation_prompt`, `bos_token` and its like, more |

mod clock;
mod python;

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};
use thiserror::Error as ThisError;

pub use clock::Instant;

/// Steps that one rendering may take; each 64 bytes that it makes on the way count as another.
const FUEL: u64 = 4_000_000;
/// How deep macros and loops may nest.
const RECURSION: usize = 200;
/// Longest text that a template may write, bytes.
const OUTPUT: usize = 16 << 20;
/// Longest template, bytes.
const SOURCE: usize = 1 << 20;
/// What the template is called within its environment.
const NAME: &str = "chat_template";

/// A compiled chat template, and what it finds under the names of special tokens.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    file: String,
    source: String,
    variables: BTreeMap<String, Value>,
}

/// What is rendered.
#[derive(Debug, Clone, Default)]
pub struct Conversation {
    /// Messages as OpenAI's chat format has them: `role`, `content`, `tool_calls`, ...
    pub messages: Vec<Value>,
    /// The tools that are declared, each a JSON schema.
    pub tools: Option<Vec<Value>>,
    /// What there is to read, for templates that take that.
    pub documents: Option<Vec<Value>>,
}

/// Why a template renders nothing.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub enum TemplateError {
    /// It cannot be read.
    #[error("{file}: {reason}")]
    Unreadable {
        /// The file it was read from.
        file: String,
        /// Why.
        reason: String,
    },
    /// It does not take this conversation, in its own words.
    #[error("{file}, line {line}: the template refuses the conversation: {message}")]
    Refused {
        /// The file.
        file: String,
        /// Where, from 1.
        line: usize,
        /// What it says.
        message: String,
    },
    /// It fails.
    #[error("{file}, line {line}: {reason}")]
    Failed {
        /// The file.
        file: String,
        /// Where, from 1.
        line: usize,
        /// How.
        reason: String,
    },
}

impl ChatTemplate {
    /// Compiles `source`, which was read from `file`.
    ///
    /// # Errors
    /// [`TemplateError::Unreadable`] if it is too long, [`TemplateError::Failed`] if it is not Jinja.
    pub fn new(file: &str, source: &str, variables: BTreeMap<String, Value>) -> Result<Self, TemplateError> {
        if source.len() > SOURCE {
            let reason = format!("the chat template has {} bytes, at most {SOURCE} are read", source.len());
            return Err(TemplateError::Unreadable { file: file.into(), reason });
        }
        let mut environment = environment();
        environment.add_template_owned(NAME, without_generation_blocks(source)).map_err(|error| told(file, &error))?;
        Ok(Self { environment, file: file.into(), source: source.into(), variables })
    }

    /// The same, with `variables` laid over what the template finds, and `now` as the time that `strftime_now` tells. Without a time there
    /// is no such function, and a template that checks for it says what it says without.
    #[must_use]
    pub fn with(mut self, variables: BTreeMap<String, Value>, now: Option<Instant>) -> Self {
        self.variables.extend(variables);
        if let Some(now) = now {
            self.environment.add_function("strftime_now", move |format: &str| now.format(format));
        }
        self
    }

    /// The file it was read from.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// As it was read.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of a conversation, and with `reply` of what asks the model to speak.
    ///
    /// # Errors
    /// [`TemplateError`], naming file and line.
    pub fn render(&self, conversation: &Conversation, reply: bool) -> Result<String, TemplateError> {
        let Conversation { messages, tools, documents } = conversation;
        let optional = |list: &Option<Vec<Value>>| list.clone().map_or(Value::from(()), Value::from);
        let own = [
            ("messages", messages.iter().map(with_reasoning).collect()),
            ("tools", optional(tools)),
            ("documents", optional(documents)),
            ("add_generation_prompt", Value::from(reply)),
        ];
        let more = self.variables.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let context: BTreeMap<&str, Value> = more.chain(own).collect();
        let failed = |error: Error| told(&self.file, &error);
        let text =
            self.environment.get_template(NAME).and_then(|it| it.render(Value::from(context))).map_err(failed)?;
        if text.len() > OUTPUT {
            let reason = format!("the template writes {} bytes, at most {OUTPUT} are taken", text.len());
            return Err(TemplateError::Unreadable { file: self.file.clone(), reason });
        }
        Ok(text)
    }
}

/// A message whose reasoning is found under each of the names that templates look for.
fn with_reasoning(message: &Value) -> Value {
    let given = |name: &&str| message.get_attr(name).ok().filter(|it| !it.is_none() && !it.is_undefined());
    let Some(reasoning) = ["reasoning_content", "thinking", "reasoning"].iter().find_map(given) else {
        return message.clone();
    };
    let thinking = given(&"thinking").unwrap_or_else(|| reasoning.clone());
    let own = message.try_iter().into_iter().flatten().map(|key| {
        let value = message.get_item(&key).unwrap_or_default();
        (key, value)
    });
    let named = [(Value::from("thinking"), thinking), (Value::from("reasoning_content"), reasoning)];
    Value::from_pairs(own.chain(named))
}

/// Jinja as Hugging Face's tools set it up.
fn environment() -> Environment<'static> {
    let mut it = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    it.set_syntax(syntax.expect("the delimiters are Jinja's own"));
    it.set_auto_escape_callback(|_| AutoEscape::None);
    it.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    it.set_formatter(|out, _, value| Ok(out.write_str(&python::text(value)?)?));
    it.set_debug(false);
    it.set_fuel(Some(FUEL));
    it.set_recursion_limit(RECURSION);
    it.add_filter("string", |value: &Value| python::text(value));
    it.add_filter("tojson", |value: &Value, options: Kwargs| python::to_json(value, &options));
    it.add_function("raise_exception", |message: &str| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, format!("{REFUSAL}{message}")))
    });
    it
}

/// Marks an error that the template itself raised.
const REFUSAL: &str = "\u{FDD0}";

fn told(file: &str, error: &Error) -> TemplateError {
    let (file, line) = (file.to_owned(), error.line().unwrap_or(0));
    match (error.kind(), error.detail()) {
        (_, Some(detail)) if detail.starts_with(REFUSAL) => {
            TemplateError::Refused { file, line, message: detail[REFUSAL.len()..].into() }
        }
        (ErrorKind::OutOfFuel, _) => {
            TemplateError::Failed { file, line, reason: format!("the template takes more than {FUEL} steps") }
        }
        (kind, Some(detail)) => TemplateError::Failed { file, line, reason: format!("{kind}: {detail}") },
        (kind, None) => TemplateError::Failed { file, line, reason: kind.to_string() },
    }
}

/// `{% generation %}` says which text is the assistant's, to tools that ask. What it encloses is rendered as if it were not there, but the
/// white space that its tags take away has to go, so they become tags without effect.
fn without_generation_blocks(source: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(source.len()), source);
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let inner = tag[2..end].trim_end_matches("%}").trim_matches(['-', '+']).trim();
        let (tag, after) = tag.split_at(end);
        match inner {
            "generation" => out.push_str(&tag.replace(inner, "if true")),
            "endgeneration" => out.push_str(&tag.replace(inner, "endif")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests;
