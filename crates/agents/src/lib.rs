//! What text the model sees and how its reply is read.

mod format;

pub use format::{ChatError, ChatFormat, Reply};
