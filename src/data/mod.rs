//! What is learned from in place of episodes: a file of JSON lines, or the domain's own demonstrations.
//!
//! | Algorithm | A line of its file                                                              |
//! |-----------|---------------------------------------------------------------------------------|
//! | `sft`     | `{"messages": [message, ...]}`                                                  |
//! | `dpo`     | `{"prompt": [message, ...], "chosen": [message, ...], "rejected": [message, ...]}` |
//!
//! A message is `{"role": "user", "content": "..."}`. All of a file is read, turned into tokens and checked before anything is started.

mod demonstrations;
mod fault;
mod file;
mod line;
mod render;

use std::fs;
use std::sync::Arc;

use stateset_chat::ChatFormat;
use stateset_environments::{DomainSpec, Ladder};
use stateset_training::{Dataset, Items};

use self::demonstrations::Demonstrations;
use self::file::Lines;
pub(crate) use self::render::render;
use crate::config::{Algorithm, Config, Problem};
use crate::format;

/// What a learner is given in place of episodes.
pub(crate) struct Given {
    pub(crate) dataset: Dataset,
    /// Of the file it was read from, if it was.
    pub(crate) digest: Option<String>,
}

/// What `config` gives its learner in place of episodes; `None` if it learns from those, or not at all. `ladder` is asked for the domain if
/// the demonstrations are its own.
///
/// # Errors
/// What is wrong with it, the first few things at once.
pub(crate) fn given(
    config: &Config,
    format: &ChatFormat,
    ladder: impl FnOnce() -> Option<Ladder>,
) -> Result<Option<Given>, Vec<Problem>> {
    let training = &config.training;
    if !training.is_offline() || training.steps == 0 {
        return Ok(None);
    }
    let limit = config.agent.max_context;
    let (batch, items, digest) = match (training.algorithm, training.data()) {
        (Algorithm::Dpo, Some((key, path))) => {
            let pair = |text: &str| render::pair(format, &line::pair(text)?, limit);
            let Lines { items, digest } = file::read(key, path, pair)?;
            (training.dpo.batch, Items::Pairs(items.into()), Some(digest))
        }
        (_, Some((key, path))) => {
            let conversation = |text: &str| render::conversation(format, &line::conversation(text)?, limit);
            let Lines { items, digest } = file::read(key, path, conversation)?;
            (training.sft.batch, Items::Conversations(items.into()), Some(digest))
        }
        (_, None) => {
            let missing =
                || Problem::new("training.sft.file", "there is no domain whose demonstrations could be imitated");
            let ladder = ladder().ok_or_else(|| vec![missing().allowed("a file of JSON lines")])?;
            let own = Demonstrations { ladder, system: config.agent.system.clone(), format: format.clone(), limit };
            own.draw(0).map_err(|reason| vec![Problem::new("agent.max_context", reason)])?;
            (training.sft.batch, Items::Endless(own.endless()), None)
        }
    };
    Ok(Some(Given { dataset: Dataset { items, batch, seed: config.run.seed }, digest }))
}

/// What is wrong with what `config` gives its learner. A model or a domain that cannot be used is somebody else's to tell.
pub(crate) fn problems(config: &Config) -> Vec<Problem> {
    if !config.training.is_offline() {
        return Vec::new();
    }
    let Ok(format) = format::named(&config.agent.model) else { return Vec::new() };
    let environment = &config.environment;
    let spec = fs::read_to_string(&environment.domain).ok().and_then(|text| DomainSpec::from_yaml(&text).ok());
    let ladder = spec.and_then(|spec| Ladder::new(Arc::new(spec), &environment.rung, config.run.seed).ok());
    if config.training.data().is_none() && ladder.is_none() {
        return Vec::new();
    }
    given(config, &format, || ladder).err().unwrap_or_default()
}
