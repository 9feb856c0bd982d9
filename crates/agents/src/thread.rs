//! A conversation that grows: what is new of it becomes tokens, and what is old never changes.
//!
//! A template renders a conversation as a whole, so what a turn adds is the difference of two renderings. It is taken only if the earlier
//! text is still there, word for word: ids that were sampled stand in it. A template that takes something back (thoughts of earlier turns,
//! tools that move along with the last question) is told of, by name, and the conversation can go on [anew](Thread::anew).
//!
//! ```text
//! prompt   |system ... |user ... |assistant            all that was heard, and what asks for a reply
//! reply                                     ...<end>   sampled; closed with what the template writes if it was cut off
//! prompt                                            \n|user ... |assistant
//! ```

use minijinja::Value;
use serde::Deserialize as _;
use stateset_domain::{Message, Role};

use crate::format::{ChatError, ChatFormat, Reply};
use crate::guard;
use crate::template::Conversation;

/// Stands in for a reply, to see what a template writes after one.
const STAND_IN: &str = "\u{FDD2}";

/// A conversation so far.
#[derive(Clone)]
pub struct Thread {
    format: ChatFormat,
    conversation: Conversation,
    /// The text that ids stand for already.
    settled: String,
    /// What asks for a reply, once that was asked.
    open: Option<Vec<u32>>,
    /// What the template writes after a reply, once there is one.
    tail: Option<Tail>,
    calls: usize,
}

/// What comes before a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// What was heard since the last reply.
    pub heard: Vec<u32>,
    /// What asks for another.
    pub open: Vec<u32>,
}

/// What a template writes after a reply.
#[derive(Clone)]
struct Tail {
    /// What ends it.
    close: Vec<u32>,
    /// What comes then, where nothing else does.
    rest: String,
}

impl ChatFormat {
    /// A conversation in which nothing has been said.
    #[must_use]
    pub fn thread(&self) -> Thread {
        let conversation = Conversation::default();
        let format = self.clone();
        Thread { format, conversation, settled: String::new(), open: None, tail: None, calls: 0 }
    }
}

impl Thread {
    /// Hears `message`. It becomes tokens with the next [`prompt`](Self::prompt).
    pub fn hear(&mut self, message: &Message) {
        let mut fields = vec![("role", message.role.name().to_owned()), ("content", message.content.clone())];
        if message.role == Role::Tool && self.calls > 0 && !self.format.calls_are_text() {
            fields.push(("tool_call_id", call_id(self.calls)));
        }
        self.push(Value::from_pairs(fields));
    }

    fn push(&mut self, message: Value) {
        self.conversation.messages.push(guard::guarded(&message, &self.format.specials));
    }

    /// The tokens of what was heard since the last reply, and those that ask for another.
    ///
    /// # Errors
    /// [`ChatError`]; [`ChatError::Rewritten`] if earlier ids would no longer be those of the conversation.
    pub fn prompt(&mut self) -> Result<Prompt, ChatError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.find_open()?,
        };
        let mut heard = self.new_ids(true)?;
        let at = heard.len() - if heard.ends_with(&open) { open.len() } else { 0 };
        let prompt = Prompt { open: heard.split_off(at), heard };
        self.open = Some(open);
        Ok(prompt)
    }

    /// All of the conversation as the template writes it now, and what asks for a reply. Ids of before no longer count: the way on where
    /// [`prompt`](Self::prompt) finds them rewritten.
    ///
    /// # Errors
    /// [`ChatError`], but never [`ChatError::Rewritten`].
    pub fn anew(&mut self) -> Result<Prompt, ChatError> {
        self.settled.clear();
        self.prompt()
    }

    /// The tokens of what was heard since the last reply, where no other is asked for.
    ///
    /// # Errors
    /// As [`prompt`](Self::prompt).
    pub fn heard(&mut self) -> Result<Vec<u32>, ChatError> {
        self.new_ids(false)
    }

    fn find_open(&self) -> Result<Vec<u32>, ChatError> {
        let template = &self.format.template;
        let (with, without) = (template.render(&self.conversation, true)?, template.render(&self.conversation, false)?);
        Ok(self.format.tokenizer.encode_marked(with.strip_prefix(&without).unwrap_or_default())?)
    }

    fn new_ids(&mut self, reply: bool) -> Result<Vec<u32>, ChatError> {
        let text = self.format.template.render(&self.conversation, reply)?;
        let ids = self.ids(self.new_of(&text)?)?;
        self.settled = text;
        Ok(ids)
    }

    /// Takes in the reply that was `sampled` after a prompt; returns it as read, and the tokens that end it: none if it has ended itself.
    ///
    /// # Errors
    /// [`ChatError`].
    pub fn reply(&mut self, sampled: &[u32]) -> Result<(Reply, Vec<u32>), ChatError> {
        let reply = self.format.read(sampled)?;
        let Tail { close, rest } = self.tail()?.clone();
        let ended = sampled.last().is_some_and(|id| self.format.ends(*id));
        let message = self.message(&reply);
        let before = std::mem::take(&mut self.settled);
        self.push(message);
        self.settled = without(self.format.template.render(&self.conversation, false)?, &rest);
        let said = guard::guarded(&Value::from(reply.said.trim()), &self.format.specials);
        let kept =
            self.settled.strip_prefix(&before).is_some_and(|new| new.contains(said.as_str().unwrap_or_default()));
        if !kept {
            // Whatever comes next, it does not continue what was sampled.
            self.settled = format!("{before}{STAND_IN}");
        }
        Ok((reply, if ended { Vec::new() } else { close }))
    }

    /// The tokens of a reply that is given, not sampled, up to its end.
    ///
    /// # Errors
    /// [`ChatError`]; [`ChatError::Rewritten`] if the template writes it otherwise than as a reply to the prompt.
    pub fn given(&mut self, text: &str) -> Result<Vec<u32>, ChatError> {
        let rest = self.tail()?.rest.clone();
        self.push(Value::from_pairs([("role", "assistant"), ("content", text)]));
        let text = without(self.format.template.render(&self.conversation, false)?, &rest);
        let ids = self.ids(self.new_of(&text)?)?;
        self.settled = text;
        Ok(ids)
    }

    /// What ends a reply that was cut off.
    ///
    /// # Errors
    /// [`ChatError`].
    pub fn close(&mut self) -> Result<&[u32], ChatError> {
        Ok(&self.tail()?.close)
    }

    /// A reply as a message: with its call beside what it says, unless the template knows of no calls.
    fn message(&mut self, reply: &Reply) -> Value {
        let role = ("role", Value::from("assistant"));
        match &reply.call {
            Some(call) if !self.format.calls_are_text() => {
                self.calls += 1;
                let function = Value::from_pairs([
                    ("name", Value::from(call.name.as_str())),
                    ("arguments", Value::deserialize(&call.arguments).unwrap_or_default()),
                ]);
                let id = Value::from(call_id(self.calls));
                let call = Value::from_pairs([("id", id), ("type", Value::from("function")), ("function", function)]);
                let content = Value::from(reply.said.as_str());
                Value::from_pairs([role, ("content", content), ("tool_calls", Value::from(vec![call]))])
            }
            _ => Value::from_pairs([role, ("content", Value::from(reply.text.as_str()))]),
        }
    }

    /// What `text` adds to what is settled.
    fn new_of<'a>(&self, text: &'a str) -> Result<&'a str, ChatError> {
        text.strip_prefix(self.settled.as_str()).ok_or_else(|| {
            let parts = text.bytes().zip(self.settled.bytes()).take_while(|(now, before)| now == before).count();
            let from = (0..=parts).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let now: String = text[from..].chars().take(24).collect();
            let reason = format!("from byte {from} it reads {now:?}");
            let file = self.format.template.file().to_owned();
            ChatError::Rewritten { file, message: self.conversation.messages.len(), reason }
        })
    }

    /// The ids of `text`, which goes on after what is settled: a tokenizer may begin a text otherwise than go on with one. It needs to see
    /// no further back than to a special token.
    fn ids(&self, text: &str) -> Result<Vec<u32>, ChatError> {
        let specials = self.format.specials.iter();
        let last = specials.filter_map(|special| self.settled.rfind(special.as_str())).max();
        let lead = &self.settled[last.unwrap_or(0)..];
        let encode = |text: &str| guard::encode(text, &self.format.specials, &*self.format.tokenizer);
        let (before, both) = (encode(lead)?, encode(&format!("{lead}{text}"))?);
        // Where the two run together into one token, there is no telling them apart.
        Ok(both.strip_prefix(before.as_slice()).map_or_else(|| encode(text), |new| Ok(new.to_vec()))?)
    }

    fn tail(&mut self) -> Result<&Tail, ChatError> {
        let tail = match self.tail.take() {
            Some(tail) => tail,
            None => self.find_tail()?,
        };
        Ok(self.tail.insert(tail))
    }

    fn find_tail(&self) -> Result<Tail, ChatError> {
        let mut probe = self.conversation.clone();
        probe.messages.push(Value::from_pairs([("role", "assistant"), ("content", STAND_IN)]));
        let text = self.format.template.render(&probe, false)?;
        let tail = text.rsplit(STAND_IN).next().unwrap_or_default();
        let specials = &self.format.specials;
        let ends =
            specials.iter().filter(|it| self.format.tokenizer.special(it).is_some_and(|id| self.format.ends(id)));
        let first = ends.filter_map(|end| Some((tail.find(end.as_str())?, end))).min_by_key(|(at, _)| *at);
        let (close, rest) = first.map_or((tail, ""), |(at, end)| tail.split_at(at + end.len()));
        Ok(Tail { close: self.format.tokenizer.encode_marked(close)?, rest: rest.into() })
    }
}

/// `text` up to where `rest` begins: what a template writes at the very end may be something else once the conversation goes on.
fn without(mut text: String, rest: &str) -> String {
    let length = text.strip_suffix(rest).map_or(text.len(), str::len);
    text.truncate(length);
    text
}

/// Nine letters and digits, which some templates ask for.
fn call_id(number: usize) -> String {
    format!("call{number:05}")
}
