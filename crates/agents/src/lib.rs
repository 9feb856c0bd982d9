//! What text the model sees and how its reply is read.

mod format;
mod template;

pub use format::{ChatError, ChatFormat, Reply};
pub use template::{ChatTemplate, Conversation, Instant, TemplateError};
