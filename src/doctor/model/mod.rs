//! A model, looked at and tried out before a run depends on it.

mod findings;
mod trial;

use std::collections::BTreeSet;

use anyhow::Result;
use serde::Serialize;
use stateset_domain::{Message, Role, Tokenizer};
use stateset_models::Pretrained;
use stateset_training::MemoryPlan;

use crate::config::Config;
use crate::format;
use crate::memory::demand;
use crate::model;
pub(super) use findings::findings;
pub(super) use trial::Trial;

/// What there is of the model.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(crate) enum Model {
    /// It cannot be loaded.
    Broken {
        /// As it was named.
        name: String,
        /// Why not, with every cause.
        reason: String,
    },
    /// It can.
    Loaded(Box<Loaded>),
}

/// What was found of a model that can be loaded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Loaded {
    /// As it was named.
    pub(super) name: String,
    /// As `model_type` names it.
    pub(super) family: &'static str,
    /// Numbers of its weights.
    pub(super) parameters: usize,
    /// Element types of its files, as safetensors names them.
    pub(super) stored: BTreeSet<&'static str>,
    /// Longest sequence, tokens.
    pub(super) context: usize,
    /// Rows of the embedding.
    pub(super) vocabulary: usize,
    /// Ids of the tokenizer.
    pub(super) tokens: usize,
    /// What became of a text that was turned into ids and back, if that is not the text.
    pub(super) changed: Option<String>,
    /// Tokens of a message as a run renders it, or why it cannot.
    pub(super) rendered: Result<usize, String>,
    /// What came of running it, or why it does not run.
    pub(super) trial: Result<Trial, String>,
    /// What a run takes that trains all of its weights and is otherwise left as it is by default.
    pub(in crate::doctor) plan: MemoryPlan,
}

/// Letters, digits, signs, spaces, and characters of two, three and four bytes.
pub(super) const SAMPLE: &str = "Hello, world! 3.14  naïve – 你好 🙂";

impl Model {
    /// Loads the model `name` and tries it out; one of the hub is downloaded first, unless it is in the cache.
    pub(crate) fn look(name: &str) -> Self {
        match Loaded::look(name) {
            Ok(loaded) => Self::Loaded(Box::new(loaded)),
            Err(error) => Self::Broken { name: name.to_owned(), reason: format!("{error:#}") },
        }
    }
}

impl Loaded {
    fn look(name: &str) -> Result<Self> {
        let model = model::load(name)?;
        let config = &model.weights.config;
        let mut run = Config::default();
        run.agent.max_context = run.agent.max_context.min(config.max_position_embeddings);
        let prompt = Prompt::of(&model);
        Ok(Self {
            name: name.to_owned(),
            family: config.family,
            parameters: config.parameters().iter().map(|parameter| parameter.len()).sum(),
            stored: model::element_types(name)?,
            context: config.max_position_embeddings,
            vocabulary: config.vocab_size,
            tokens: model.tokenizer.vocab_size(),
            changed: changed(&model),
            rendered: prompt.as_ref().map(|prompt| prompt.tokens.len()).map_err(|error| format!("{error:#}")),
            trial: Trial::of(&model, prompt.ok()).map_err(|error| format!("{error:#}")),
            plan: demand(&run, &model.weights)?.plan(config),
        })
    }
}

/// What [`SAMPLE`] is turned into by ids and back, if that is something else.
fn changed(model: &Pretrained) -> Option<String> {
    let back = model.tokenizer.encode(SAMPLE).and_then(|ids| model.tokenizer.decode(&ids));
    let back = back.unwrap_or_else(|error| error.to_string());
    (back != SAMPLE).then_some(back)
}

/// A conversation's beginning, as a run renders it, and what ends the reply.
pub(super) struct Prompt {
    pub(super) tokens: Vec<u32>,
    pub(super) stop: Vec<u32>,
}

impl Prompt {
    fn of(model: &Pretrained) -> Result<Self> {
        let format = format::of(model)?;
        let mut thread = format.thread();
        thread.hear(&Message::new(Role::User, "Hello!"));
        let prompt = thread.prompt()?;
        Ok(Self { tokens: [prompt.heard, prompt.open].concat(), stop: format.stop_tokens() })
    }
}
