//! What text the model sees and how its reply is read.

mod calls;
mod declared;
mod format;
mod guard;
mod template;
mod thread;

pub use declared::CHAT_FILES;
pub use format::{ChatError, ChatFormat, PLAIN, Rendered, Reply};
pub use minijinja::Value;
pub use minijinja::value::ValueKind;
pub use template::{ChatTemplate, Conversation, Instant, TemplateError};
pub use thread::{Prompt, Thread};
