//! What can be seen of a run without asking anyone: what its threads do, and who waits for whom.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stateset_telemetry::EventSink;

use crate::protocol::{Instruments, LiveConversation, Reading, Site};
use crate::thread::{Lease, ThreadReading};

/// The dedicated threads, by whose they are. An actor adds its lease when it starts.
#[derive(Debug, Default)]
pub struct Threads(Mutex<Vec<(Site, Lease)>>);

impl Threads {
    pub(crate) fn watch(&self, site: Site, lease: &Lease, events: &Arc<dyn EventSink>) {
        lease.report(site.name(), Arc::clone(events));
        let mut threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !threads.iter().any(|(_, known)| known.is(lease)) {
            threads.push((site, lease.clone()));
        }
    }

    fn read(&self) -> Vec<(Site, ThreadReading)> {
        let threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        threads.iter().map(|(site, lease)| (*site, lease.read())).collect()
    }
}

/// Conversations that wait for the same answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Whose.
    pub site: Site,
    /// How many wait.
    pub conversations: usize,
    /// The episode that has waited longest.
    pub episode: String,
    /// The turn that one is at.
    pub turn: u32,
    /// How long it has waited.
    pub waited: Duration,
}

/// A run at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sight {
    /// What has been done.
    pub reading: Reading,
    /// What the dedicated threads are doing.
    pub threads: Vec<(Site, ThreadReading)>,
    /// Who waits for whom, in ring order.
    pub waiting: Vec<Waiting>,
    /// Conversations that are live, whether they wait or not.
    pub live: usize,
}

impl Instruments {
    /// Looks around. Nobody is asked, so nobody has to answer.
    #[must_use]
    pub fn look(&self) -> Sight {
        let live = self.conversations.snapshot();
        let waiting = Site::ALL.into_iter().filter_map(|site| Waiting::of(site, &live)).collect();
        Sight { reading: self.vitals.read(), threads: self.threads.read(), waiting, live: live.len() }
    }
}

impl Waiting {
    fn of(site: Site, live: &[LiveConversation]) -> Option<Self> {
        let waiting = || live.iter().filter(|conversation| conversation.waits_for == Some(site));
        let oldest = waiting().min_by_key(|conversation| conversation.since)?;
        let (episode, waited) = (oldest.episode.to_string(), oldest.since.elapsed());
        Some(Self { site, conversations: waiting().count(), episode, turn: oldest.turn, waited })
    }
}

impl Sight {
    /// Who waits for whom and which threads are busy, a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let threads = self.threads.iter().filter_map(|(site, thread)| {
            let busy = thread.busy?.as_secs_f64();
            Some(format!("thread {} of {site} has been at the same work for {busy:.1} s", thread.epoch))
        });
        let waiting = self.waiting.iter().map(ToString::to_string);
        let idle = (self.live == 0).then(|| "no conversation is live".to_owned());
        threads.chain(waiting).chain(idle).collect()
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { site, conversations, episode, turn, waited } = self;
        let waited = waited.as_secs_f64();
        write!(
            f,
            "{conversations} conversations wait for {site}, the longest ({episode}) for {waited:.1} s in turn {turn}"
        )
    }
}
