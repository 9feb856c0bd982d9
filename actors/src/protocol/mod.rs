//! What actors say to each other, and how they reach each other.

mod live;
mod messages;
mod observer;
mod port;
mod probe;
mod settings;
mod sight;
mod slot;
mod ticket;
mod vitals;

pub use live::{Conversations, LiveConversation, LiveEntry};
pub use messages::{
    Begin, CheckpointerMsg, ConversationMsg, EnvironmentMsg, HealthMsg, InferenceMsg, JudgeMsg, LearnerMsg, Prompt,
    Stepped,
};
pub use observer::{Evaluation, FinishReason, Observer, RunFinished};
pub use port::{CallError, Port, Reply, Undelivered};
pub use probe::{Failed, Probe, Site, Unprobed, Visit};
pub use settings::{Deadlines, Instruments, Settings, SettingsSource};
pub use sight::{Sight, Threads, Waiting};
pub use slot::PolicySlot;
pub use ticket::{Assignment, Ticket};
pub use vitals::{Reading, Vitals};
