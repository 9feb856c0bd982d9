//! What every actor is given: how long to wait, and whom to tell.

use std::sync::Arc;
use std::time::Duration;

use stateset_telemetry::{Event, EventSink};

use crate::policy::{HealthBoard, Retries};
use crate::protocol::{Conversations, Failed, Probe, Site, Threads, Visit, Vitals};

/// The longest a request may take, the time that its receiver needs to be restarted included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// One reply of the policy, waiting for a free slot included.
    pub generate: Duration,
    /// One step of an environment, or the admission of an episode.
    pub environment: Duration,
    /// Handing an episode to the judge.
    pub judge: Duration,
    /// Loading new weights into the engine.
    pub load: Duration,
    /// Writing or reading a checkpoint.
    pub save: Duration,
    /// For a dedicated thread to end once its successor is there.
    pub thread: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            generate: seconds(120),
            environment: seconds(30),
            judge: seconds(30),
            load: seconds(60),
            save: seconds(60),
            thread: seconds(30),
        }
    }
}

/// What may be changed while a run goes on, because its result does not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long to wait for each request.
    pub deadlines: Deadlines,
    /// How often an episode is attempted; also how often a call is repeated whose receiver was restarted.
    pub retries: Retries,
    /// Steps between two checkpoints; 0 saves at the end only.
    pub save_every: u64,
    /// Steps between two evaluations; 0 evaluates the base and the final policy only.
    pub eval_every: u64,
}

/// Reads the settings as they are now.
pub type SettingsSource = Arc<dyn Fn() -> Settings + Send + Sync>;

/// What actors report through. Shared by the whole ring, and by every incarnation of each actor.
#[derive(Clone)]
pub struct Instruments {
    /// Takes what is worth a line.
    pub events: Arc<dyn EventSink>,
    /// Where faults come in.
    pub probe: Arc<dyn Probe>,
    /// Counts what gets done.
    pub vitals: Arc<Vitals>,
    /// Who is talking now.
    pub conversations: Arc<Conversations>,
    /// How the run is doing.
    pub health: Arc<HealthBoard>,
    /// What the dedicated threads are doing.
    pub threads: Arc<Threads>,
}

impl Instruments {
    /// Instruments that begin at zero.
    #[must_use]
    pub fn new(events: Arc<dyn EventSink>, probe: Arc<dyn Probe>) -> Self {
        Self {
            events,
            probe,
            vitals: Arc::default(),
            conversations: Arc::default(),
            health: Arc::default(),
            threads: Arc::default(),
        }
    }

    /// `site` is about to work: lets the probe look in, and does to the caller what it says.
    pub(crate) async fn visit(&self, site: Site) -> Result<(), Failed> {
        match self.probe.visit(site) {
            Visit::Pass => Ok(()),
            Visit::Wait(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Visit::Fail(why) => Err(Failed(why)),
        }
    }

    pub(crate) fn emit(&self, event: Event) {
        self.events.emit(event);
    }
}
