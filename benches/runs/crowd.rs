//! Ten thousand conversations at once: what they weigh, and how long it takes to end them.
//!
//! The engine answers nobody until everybody waits for it, so that all of them are live at one moment.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use stateset_agents::prelude::*;
use stateset_benches::resident;
use stateset_domain::{Digest, Engine, EngineError, GenerateRequest, PolicySnapshot, Poll};
use stateset_testkit::{EchoEnvironment, MeanTurnReward, ScriptedEngine};

use crate::scripted;

/// Episodes of a group.
const GROUP: u32 = 8;

/// What the engine saw.
#[derive(Default)]
struct Seen {
    most: AtomicUsize,
    /// Resident bytes when the crowd was complete.
    resident: AtomicU64,
}

/// A scripted engine behind a gate that opens when so many wait; if it is to open at all.
struct Gate {
    crowd: usize,
    opens: bool,
    open: bool,
    waiting: usize,
    seen: Arc<Seen>,
    inner: ScriptedEngine,
}

impl Engine for Gate {
    fn load(&mut self, snapshot: &PolicySnapshot) -> Result<Digest, EngineError> {
        self.inner.load(snapshot)
    }

    fn submit(&mut self, request: GenerateRequest) -> Result<(), EngineError> {
        self.waiting += 1;
        self.inner.submit(request)
    }

    fn step(&mut self) -> Result<Poll, EngineError> {
        if self.waiting == self.crowd && self.seen.most.swap(self.crowd, SeqCst) < self.crowd {
            self.seen.resident.store(resident().unwrap_or(0), SeqCst);
            self.open = self.opens;
        }
        if !self.open {
            std::thread::sleep(Duration::from_millis(1));
            return Ok(Poll { finished: Vec::new(), live: self.waiting });
        }
        let poll = self.inner.step()?;
        self.waiting -= poll.finished.len();
        Ok(poll)
    }

    fn release(&mut self, conversation: u64) {
        self.inner.release(conversation);
    }
}

/// What a crowd came to.
pub(crate) struct Crowd {
    /// Bytes a live conversation takes, its place in every queue and table included.
    pub(crate) bytes_each: f64,
    /// Seconds from the first conversation to the last answer, or from the order to end to the end.
    pub(crate) seconds: f64,
    /// Episodes that were lost.
    pub(crate) lost: u64,
}

/// One step of `crowd` episodes, all live at once; to its end, or interrupted when the crowd is complete.
pub(crate) async fn gather(folder: &Path, crowd: u32, to_its_end: bool) -> Crowd {
    let mut config = Config::default();
    config.run.output_dir = folder.to_owned();
    config.run.name = format!("crowd-{to_its_end}");
    config.training.steps = 1;
    config.training.group_size = GROUP;
    config.training.groups_per_step = crowd / GROUP;
    config.evaluation.episodes = 0;
    config.supervision.max_live_episodes = crowd as usize;
    let seen = Arc::new(Seen::default());
    let (watched, live) = (seen.clone(), crowd as usize);
    let engine = move || {
        let inner = ScriptedEngine::new(|_, request| scripted::echo(request));
        Gate { crowd: live, opens: to_its_end, open: false, waiting: 0, seen: watched.clone(), inner }
    };
    let runtime = Runtime::builder()
        .config(config)
        .backends(scripted::backends(engine))
        .environment(EchoEnvironment { turns: 3 })
        .reward(MeanTurnReward)
        .build()
        .unwrap();
    let before = resident().unwrap_or(0);
    let interrupter = runtime.interrupter();
    let running = tokio::spawn(runtime.run());
    let mut began = Instant::now();
    if !to_its_end {
        while seen.most.load(SeqCst) < crowd as usize {
            assert!(began.elapsed() < Duration::from_secs(300), "the crowd does not gather");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        began = Instant::now();
        interrupter.interrupt();
    }
    let result = running.await.unwrap().unwrap();
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(seen.most.load(SeqCst), crowd as usize, "all were live at once");
    let grown = seen.resident.load(SeqCst).saturating_sub(before);
    Crowd { bytes_each: grown as f64 / f64::from(crowd), seconds, lost: result.summary.episodes_lost }
}
