//! The chat format: how a message becomes tokens, one turn at a time, and how sampled tokens become a reply.
//!
//! A conversation grows by appending. Earlier ids are never rendered again, so what is trained on is exactly what was sampled. The
//! format is the one that the built-in policy's `chat_template` writes: `<|role|>` content `<|end|>`, where a reply is opened by
//! `<|assistant|>` and ends with a sampled `<|end|>`.

use std::sync::Arc;

use stateset_domain::{Message, Role, Tokenizer, TokenizerError, ToolCall};
use thiserror::Error;

/// Renders turns to tokens and reads replies back.
#[derive(Clone)]
pub struct ChatFormat {
    tokenizer: Arc<dyn Tokenizer>,
    roles: [u32; 4],
    end: [u32; 1],
}

/// A reply as read.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Its text.
    pub text: String,
    /// The tool call it consists of, if it is one.
    pub call: Option<ToolCall>,
}

/// Why a conversation cannot be rendered or read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChatError {
    /// The tokenizer lacks a token the format is made of.
    #[error("the tokenizer has no token {0}, which the chat format needs")]
    MissingToken(&'static str),
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

const ROLE_TOKENS: [&str; 4] = ["<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"];
const END: &str = "<|end|>";

impl ChatFormat {
    /// The format over `tokenizer`.
    ///
    /// # Errors
    /// [`ChatError::MissingToken`] if the tokenizer was not made for this format.
    pub fn new(tokenizer: Arc<dyn Tokenizer>) -> Result<Self, ChatError> {
        let id = |token| tokenizer.special(token).ok_or(ChatError::MissingToken(token));
        let mut roles = [0; 4];
        for (slot, token) in roles.iter_mut().zip(ROLE_TOKENS) {
            *slot = id(token)?;
        }
        let end = [id(END)?];
        Ok(Self { tokenizer, roles, end })
    }

    /// The tokens of a whole message.
    ///
    /// # Errors
    /// [`ChatError::Tokenizer`] if its text has no encoding.
    pub fn message(&self, message: &Message) -> Result<Vec<u32>, ChatError> {
        let mut ids = vec![self.role(message.role)];
        ids.extend(self.tokenizer.encode(&message.content)?);
        ids.extend(self.end);
        Ok(ids)
    }

    /// The tokens that ask the policy to speak.
    #[must_use]
    pub fn open_reply(&self) -> Vec<u32> {
        vec![self.role(Role::Assistant)]
    }

    /// The tokens that end a reply, each by itself.
    #[must_use]
    pub fn stop_tokens(&self) -> Vec<u32> {
        self.end.to_vec()
    }

    /// What must follow `sampled` to end the turn: nothing if the policy ended it itself.
    #[must_use]
    pub fn close_reply(&self, sampled: &[u32]) -> Vec<u32> {
        if sampled.last() == Some(&self.end[0]) { Vec::new() } else { self.end.to_vec() }
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// [`ChatError::Tokenizer`] if an id is unknown.
    pub fn read(&self, sampled: &[u32]) -> Result<Reply, ChatError> {
        let text = self.tokenizer.decode(sampled)?;
        let call = parse_call(&text);
        Ok(Reply { text, call })
    }

    fn role(&self, role: Role) -> u32 {
        self.roles[role as usize]
    }
}

/// Reads `name {json object}`: the whole reply is a call, or none of it is.
fn parse_call(text: &str) -> Option<ToolCall> {
    let (name, arguments) = text.trim().split_once(' ')?;
    let identifier = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let arguments: serde_json::Value = serde_json::from_str(arguments).ok()?;
    (identifier && arguments.is_object()).then(|| ToolCall { name: name.into(), arguments })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reply_that_is_wholly_a_call_is_a_call() {
        let call = parse_call("lookup_order {\"id\": \"K7Q2M\"}").unwrap();
        assert_eq!((call.name.as_str(), call.arguments["id"].as_str()), ("lookup_order", Some("K7Q2M")));
        for text in
            ["", "hello", "lookup_order", "lookup_order 5", "Lookup {\"id\": 1}", "please lookup_order {\"id\": 1}"]
        {
            assert_eq!(parse_call(text), None, "{text}");
        }
    }
}
