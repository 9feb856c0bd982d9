//! An append-only journal of what a run has accepted, for when the process ends without warning.
//!
//! ```text
//! journal/
//! ├─ fence                  the epoch of the writer that may write
//! ├─ 000001-e1.journal      segments: a first frame that says what counts of the segment before, then one frame an entry
//! └─ 000002-e2.journal      a writer only ever appends to segments of its own epoch
//! ```
//!
//! | What happens                              | What is guaranteed                                                              |
//! |-------------------------------------------|---------------------------------------------------------------------------------|
//! | the process is killed                     | every entry whose append returned is read again                                 |
//! | the power fails                           | so is every entry up to the last append that asked for [`Durability::Power`]    |
//! | a write is cut short                      | the half entry is cut off, at once or when the journal is next opened           |
//! | a bit flips before a whole entry          | the journal is refused, naming file and place                                   |
//! | an old writer comes back to life          | what it appends is not read, and it is told so                                  |
//! | checkpoints are dropped                   | segments that hold nothing newer are deleted, so the folder stays bounded       |
//!
//! What is lost in any of these ways is work, never truth: an episode that is not in the journal is rolled out again.
//!
//! [`Durability::Power`]: stateset_domain::Durability::Power

mod codec;
mod fence;
mod folder;
mod record;
mod segment;

pub use folder::JournalFolder;
