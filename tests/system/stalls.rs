//! An engine that hangs: the run says who waits for whom, goes on with another, and ends where it would have ended.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use stateset_agents::{Runtime, RuntimeBuilder};
use stateset_telemetry::{Event, EventSink};

use crate::lab::{Lab, assert_undisturbed, events, small};

/// Blocks the engine's thread when it says that it has loaded weights for the `nth` time, until it is let go.
pub(crate) struct Hang {
    nth: u32,
    loads: AtomicU32,
    hanging: Sender<()>,
    release: Mutex<Receiver<()>>,
}

impl Hang {
    /// The hook, what is sent when it hangs, and what lets it go when dropped.
    pub(crate) fn at(nth: u32) -> (Arc<Self>, Receiver<()>, Sender<()>) {
        let ((hanging, hangs), (let_go, release)) = (channel(), channel());
        (Arc::new(Self { nth, loads: AtomicU32::new(0), hanging, release: Mutex::new(release) }), hangs, let_go)
    }
}

impl EventSink for Hang {
    fn emit(&self, event: Event) {
        let loaded = matches!(event, Event::WeightsLoaded { .. });
        if loaded && self.loads.fetch_add(1, Ordering::Relaxed) + 1 == self.nth {
            self.hanging.send(()).unwrap();
            let _ = self.release.lock().unwrap().recv();
        }
    }
}

/// The small run, with deadlines for the impatient.
pub(crate) fn impatient(lab: &Lab, stall: Duration) -> RuntimeBuilder {
    let sets = [
        format!("run.output_dir={}", Value::from(lab.runs().to_str().unwrap())),
        format!("supervision.deadlines.stall={}s", stall.as_secs()),
        "supervision.deadlines.thread=1s".into(),
    ];
    Runtime::builder().config_file(small(), &sets).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_engine_hangs_goes_on_with_another_and_ends_as_if_it_had_not() {
    let (lab, (hang, _hangs, let_go)) = (Lab::new(), Hang::at(4));
    // Longer than any step takes, on a busy machine too.
    impatient(&lab, Duration::from_secs(10)).events(hang).build().unwrap().run().await.unwrap();
    assert_eq!(assert_undisturbed(&lab.run()).restarts, 1);
    let events: Vec<Event> = events(&lab.run()).into_iter().map(|timed| timed.event).collect();
    let stalled = events.iter().find_map(|event| match event {
        Event::Stalled { waits, action, .. } => Some((waits.join(", "), action.clone())),
        _ => None,
    });
    let (waits, action) = stalled.expect("the stall is on record");
    assert_eq!(action, "inference is restarted");
    assert!(waits.starts_with("thread 1 of inference has been at the same work for"), "{waits}");
    let fenced = Event::ThreadFenced { thread: "inference".into(), epoch: 1 };
    assert_eq!(events.iter().filter(|event| **event == fenced).count(), 1);
    drop(let_go);
}
