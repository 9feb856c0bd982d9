//! The chat format: how a conversation becomes tokens, and how sampled tokens become a reply.
//!
//! The model's own template decides it. [`ChatFormat::render`] gives what Hugging Face's `apply_chat_template` gives, where a special token
//! that somebody typed is that token; a [`Thread`](crate::Thread), which training goes by, never lets it become one.

use std::sync::Arc;

use stateset_domain::{Artifact, Tokenizer, TokenizerError, ToolCall};
use thiserror::Error;

use crate::calls::CallForm;
use crate::declared::Declared;
use crate::template::{ChatTemplate, Conversation, Instant, TemplateError};

/// Renders conversations by a template, and reads replies back.
#[derive(Clone)]
pub struct ChatFormat {
    pub(crate) tokenizer: Arc<dyn Tokenizer>,
    pub(crate) template: Arc<ChatTemplate>,
    pub(crate) specials: Arc<[String]>,
    stop: Arc<[u32]>,
    form: CallForm,
}

/// A rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// As the template wrote it.
    pub text: String,
    /// Its token ids.
    pub ids: Vec<u32>,
}

/// A reply as read.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Its text.
    pub text: String,
    /// The tool call that it makes, if it makes one.
    pub call: Option<ToolCall>,
    /// What it says beside the call.
    pub(crate) said: String,
}

/// Why a conversation cannot be rendered or read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChatError {
    /// The tokenizer lacks a token the format is made of.
    #[error(
        "the model has no chat template, and its tokenizer no token {0}, which the format of the built-in policy needs"
    )]
    MissingToken(&'static str),
    /// Nothing ends a reply.
    #[error(
        "nothing ends a reply: eos_token_id in generation_config.json or config.json, or eos_token in tokenizer_config.json, has to"
    )]
    Endless,
    /// The template fails.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The template takes back what it wrote.
    #[error(
        "{file}: the template writes what came before message {message} anew ({reason}), so the reply in it would not be what was sampled"
    )]
    Rewritten {
        /// The template's file.
        file: String,
        /// The first new message, from 1.
        message: usize,
        /// Where the two texts part.
        reason: String,
    },
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

const PLAIN_TOKENS: [&str; 5] = ["<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>"];

/// The chat template of the built-in policy.
pub const PLAIN: &str = "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}\
                         {% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

impl ChatFormat {
    /// The format of the built-in policy, over `tokenizer`: `<|role|>`, the content and `<|end|>`.
    ///
    /// # Errors
    /// [`ChatError::MissingToken`] if the tokenizer was not made for it.
    pub fn new(tokenizer: Arc<dyn Tokenizer>) -> Result<Self, ChatError> {
        let mut stop = 0;
        for token in PLAIN_TOKENS {
            stop = tokenizer.special(token).ok_or(ChatError::MissingToken(token))?;
        }
        let template = ChatTemplate::new("the built-in policy's template", PLAIN, [].into())?;
        Ok(Self::of(tokenizer, template, vec![stop]))
    }

    /// The format that a model's `files` declare (see [`CHAT_FILES`](crate::CHAT_FILES)), or that of the built-in policy where they have no
    /// template. `now` is the time for templates that tell it.
    ///
    /// # Errors
    /// [`ChatError`] if a file cannot be used, or nothing ends a reply.
    pub fn declared(
        tokenizer: Arc<dyn Tokenizer>,
        files: &[Artifact],
        tools: bool,
        now: Option<Instant>,
    ) -> Result<Self, ChatError> {
        let Declared { template, stop } = Declared::read(files, &*tokenizer, tools)?;
        let Some(template) = template else { return Self::new(tokenizer) };
        if stop.is_empty() {
            return Err(ChatError::Endless);
        }
        Ok(Self::of(tokenizer, template.with([].into(), now), stop))
    }

    fn of(tokenizer: Arc<dyn Tokenizer>, template: ChatTemplate, stop: Vec<u32>) -> Self {
        let (specials, form) = (tokenizer.specials().into(), CallForm::of(template.source()));
        Self { tokenizer, template: Arc::new(template), specials, stop: stop.into(), form }
    }

    /// The same, with more `variables` for the template, such as `enable_thinking`.
    #[must_use]
    pub fn with_variables(mut self, variables: impl IntoIterator<Item = (String, minijinja::Value)>) -> Self {
        let template = (*self.template).clone().with(variables.into_iter().collect(), None);
        self.template = Arc::new(template);
        self
    }

    /// All of a conversation at once, and with `reply` what asks the model to speak. Text and ids equal those of `apply_chat_template` in
    /// Hugging Face's transformers.
    ///
    /// # Errors
    /// [`ChatError::Template`] or [`ChatError::Tokenizer`].
    pub fn render(&self, conversation: &Conversation, reply: bool) -> Result<Rendered, ChatError> {
        let text = self.template.render(conversation, reply)?;
        let ids = self.tokenizer.encode_marked(&text)?;
        Ok(Rendered { text, ids })
    }

    /// The tokens that end a reply, each by itself.
    #[must_use]
    pub fn stop_tokens(&self) -> Vec<u32> {
        self.stop.to_vec()
    }

    /// The special tokens, as they are written.
    #[must_use]
    pub fn special_tokens(&self) -> Vec<String> {
        self.specials.to_vec()
    }

    /// Whether a reply ends with `id`.
    pub(crate) fn ends(&self, id: u32) -> bool {
        self.stop.contains(&id)
    }

    /// Whether calls are part of the text of a message, not beside it.
    pub(crate) fn calls_are_text(&self) -> bool {
        self.form == CallForm::Named
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// [`ChatError::Tokenizer`] if an id is unknown.
    pub fn read(&self, sampled: &[u32]) -> Result<Reply, ChatError> {
        let text = self.tokenizer.decode(sampled)?;
        let (said, call) = self.form.read(&text).unzip();
        Ok(Reply { said: said.unwrap_or_else(|| text.clone()), call, text })
    }
}
