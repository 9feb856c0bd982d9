//! The table of live conversations: who is talking, since when, and whom it waits for.

use std::sync::Arc;

use dashmap::DashMap;
use stateset_domain::EpisodeId;
use tokio::time::Instant;

use crate::protocol::{Assignment, Site};

/// A conversation in progress.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LiveConversation {
    /// Which episode it is.
    pub episode: EpisodeId,
    /// Which attempt at it.
    pub attempt: u32,
    /// When it began.
    pub started: Instant,
    /// The turn it is at, from 1; 0 before the first.
    pub turn: u32,
    /// Whose answer it waits for.
    pub waits_for: Option<Site>,
    /// Since when; when it began if it waits for nobody.
    pub since: Instant,
}

/// Every live conversation, by the key that its [`Assignment`] names it with.
#[derive(Debug, Default)]
pub struct Conversations {
    table: DashMap<u64, LiveConversation>,
}

/// A conversation's line in the table, gone when this is dropped.
#[derive(Debug)]
pub struct LiveEntry {
    conversations: Arc<Conversations>,
    key: u64,
}

impl Conversations {
    /// Everyone who is talking, oldest first.
    #[must_use]
    pub fn snapshot(&self) -> Vec<LiveConversation> {
        let mut live: Vec<_> = self.table.iter().map(|entry| *entry.value()).collect();
        live.sort_by_key(|conversation| (conversation.started, conversation.episode, conversation.attempt));
        live
    }

    /// How many are talking.
    #[must_use]
    pub fn count(&self) -> usize {
        self.table.len()
    }

    /// Adds a conversation that begins now.
    #[must_use]
    pub fn enter(self: &Arc<Self>, assignment: &Assignment) -> LiveEntry {
        let Assignment { episode, attempt, conversation: key, .. } = *assignment;
        let started = Instant::now();
        let live = LiveConversation { episode, attempt, started, turn: 0, waits_for: None, since: started };
        self.table.insert(key, live);
        LiveEntry { conversations: Arc::clone(self), key }
    }
}

impl LiveEntry {
    /// It waits for `site`, in `turn`.
    pub fn waits(&self, turn: u32, site: Site) {
        if let Some(mut live) = self.conversations.table.get_mut(&self.key) {
            live.turn = turn;
            live.waits_for = Some(site);
            live.since = Instant::now();
        }
    }
}

impl Drop for LiveEntry {
    fn drop(&mut self) {
        self.conversations.table.remove(&self.key);
    }
}
