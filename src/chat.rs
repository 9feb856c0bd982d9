//! Talking to a policy, one conversation at a time.

use std::sync::Arc;

use anyhow::{Result, bail};
use stateset_chat::{ChatError, ChatFormat, Prompt, Thread};
use stateset_domain::{Engine, Finish, GenerateRequest, Message, RequestId, Role, Sampling, Stream, ToolCall};
use stateset_inference::{BatchEngine, EngineLimits};
use stateset_models::{Pretrained, ServedWeights};

use crate::format;

/// Answers tool calls.
pub type Tools = Box<dyn FnMut(&ToolCall) -> String + Send>;

/// Tool calls answered within one turn; a policy that wants more is cut short.
const MAX_CALLS: usize = 4;

/// A conversation with a policy.
///
/// ```
/// use stateset_agents::prelude::*;
///
/// let policy = model::load(model::BUILTIN)?;
/// let mut chat = Chat::new(&policy, Sampling::default().greedy(), Stream::new(7))?;
/// let said = chat.say("hi, my account is K7Q2M. i was charged twice.")?;
/// assert!(said.iter().any(|message| message.content.contains("K7Q2M")));
/// # Ok::<(), anyhow::Error>(())
/// ```
pub struct Chat {
    engine: BatchEngine,
    format: ChatFormat,
    thread: Thread,
    sampling: Sampling,
    stream: Stream,
    tools: Option<Tools>,
    tokens: Vec<u32>,
    limit: usize,
    replies: u64,
}

impl Chat {
    /// A conversation that has not begun.
    ///
    /// # Errors
    /// If the policy does not speak the chat format.
    pub fn new(policy: &Pretrained, sampling: Sampling, stream: Stream) -> Result<Self> {
        let tokenizer = Arc::new(policy.tokenizer.clone());
        let config = &policy.weights.config;
        let limit = config.max_position_embeddings;
        let limits = EngineLimits { slots: 1, positions: limit, step_tokens: limit };
        let engine = BatchEngine::new(config, tokenizer.clone(), limits).serving(ServedWeights::of(&policy.weights));
        let format = format::of(policy)?;
        let thread = format.thread();
        Ok(Self { engine, format, thread, sampling, stream, tools: None, tokens: Vec::new(), limit, replies: 0 })
    }

    /// Answers the policy's tool calls with `tools`; without, a call is its whole reply.
    #[must_use]
    pub fn with_tools(mut self, tools: impl FnMut(&ToolCall) -> String + Send + 'static) -> Self {
        self.tools = Some(Box::new(tools));
        self
    }

    /// Forgets what was said.
    pub fn restart(&mut self) {
        self.tokens.clear();
        self.thread = self.format.thread();
        self.engine.release(0);
    }

    /// Says something as the user; returns what the policy says, tool calls and their results included.
    ///
    /// # Errors
    /// If the conversation no longer fits the policy's context.
    pub fn say(&mut self, text: &str) -> Result<Vec<Message>> {
        self.thread.hear(&Message::new(Role::User, text));
        let mut said = Vec::new();
        for _ in 0..=MAX_CALLS {
            let (message, call) = self.reply()?;
            said.push(message);
            let Some((call, tools)) = call.zip(self.tools.as_mut()) else { break };
            let result = Message::new(Role::Tool, tools(&call));
            self.thread.hear(&result);
            said.push(result);
        }
        Ok(said)
    }

    fn reply(&mut self) -> Result<(Message, Option<ToolCall>)> {
        let prompt = match self.thread.prompt() {
            Err(ChatError::Rewritten { .. }) => {
                self.tokens.clear();
                self.thread.anew()
            }
            prompt => prompt,
        };
        let Prompt { heard, open } = prompt?;
        self.tokens.extend([heard, open].concat());
        if self.tokens.len() >= self.limit {
            bail!("the conversation is full: it has {} tokens, the policy's context {}", self.tokens.len(), self.limit);
        }
        self.engine.submit(GenerateRequest {
            id: RequestId(self.replies),
            conversation: 0,
            tokens: self.tokens.clone(),
            sampling: self.sampling.clone(),
            stop_tokens: self.format.stop_tokens(),
            stream: self.stream.fork(self.replies),
        })?;
        self.replies += 1;
        let completion = loop {
            if let Some(finished) = self.engine.step()?.finished.pop() {
                break finished.completion;
            }
        };
        self.tokens.extend(&completion.tokens);
        let (reply, close) = self.thread.reply(&completion.tokens)?;
        self.tokens.extend(close);
        let call = reply.call.filter(|_| completion.finish == Finish::Stop);
        Ok((Message::new(Role::Assistant, reply.text), call))
    }
}
