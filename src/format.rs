//! The chat format of a model.

use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;

use anyhow::{Context, Result};
use stateset_chat::{CHAT_FILES, ChatFormat, Instant};
use stateset_domain::Artifact;
use stateset_models::Pretrained;

use crate::model;

/// What a template is told the time is, in a run: 2026-01-01. What a policy reads must not depend on the day on which a run is resumed.
const RUN: Instant = Instant(1_767_225_600);

/// The format of a loaded model.
///
/// # Errors
/// If its template cannot be used.
pub fn of(model: &Pretrained) -> Result<ChatFormat> {
    Ok(ChatFormat::declared(Arc::new(model.tokenizer.clone()), &model.files, false, Some(RUN))?)
}

/// The format of the model `name`. Its weights are not read, and nothing is downloaded.
///
/// # Errors
/// If a file cannot be read or used.
pub fn named(name: &str) -> Result<ChatFormat> {
    read(name, false, RUN)
}

/// The same, for conversations with `tools` at the time `now`.
pub(crate) fn read(name: &str, tools: bool, now: Instant) -> Result<ChatFormat> {
    let tokenizer = Arc::new(model::tokenizer(name)?);
    let Some(folder) = model::folder(name)? else { return Ok(ChatFormat::new(tokenizer)?) };
    let mut files = Vec::new();
    for file in CHAT_FILES {
        let path = folder.join(file);
        match fs::read(&path) {
            Ok(bytes) => files.push(Artifact { name: file.into(), bytes }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
    ChatFormat::declared(tokenizer, &files, tools, Some(now)).with_context(|| format!("cannot use the model {name}"))
}
