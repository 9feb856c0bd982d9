//! A crash anywhere leaves no trace in the result.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use stateset_actors::protocol::{Evaluation, Site};
use stateset_domain::{Engine, EpisodeCounts};
use stateset_telemetry::Event;
use stateset_testkit::{FaultInjector, ScriptedEngine};

use crate::rig::{Ran, Rig, sometimes_echo};

/// What a run amounts to, whatever happened on the way.
#[derive(Debug, PartialEq)]
struct Amount {
    digest: String,
    episodes: EpisodeCounts,
    /// Step, mean reward and success rate.
    rows: Vec<(u64, f64, f64)>,
    /// With whole trajectories in them.
    evaluations: Vec<Evaluation>,
}

fn result(ran: &Ran) -> Amount {
    let (digest, rows) = (ran.digest(), ran.recorder.steps.lock().unwrap());
    Amount {
        digest,
        episodes: ran.recorder.finished.get().unwrap().episodes,
        rows: rows.iter().map(|row| (row.step, row.reward_mean, row.success_rate)).collect(),
        evaluations: ran.recorder.evaluations.lock().unwrap().clone(),
    }
}

async fn with_faults(faults: &[(Site, u64)]) -> Ran {
    let probe = Arc::new(FaultInjector::new(faults.iter().copied()));
    let ran = Rig { probe: probe.clone(), restarts: faults.len(), ..Rig::default() }.run().await;
    for (site, visit) in faults {
        assert!(probe.visits(*site) >= *visit, "{site} was never visited {visit} times");
    }
    ran
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_any_actor_at_any_time_gives_the_same_weights_and_trajectories() {
    let undisturbed = result(&Rig::default().run().await);
    for site in Site::ALL {
        let visits: &[u64] = match site {
            Site::Learner | Site::Environment | Site::Conversation | Site::Inference | Site::Judge => &[1, 2, 5, 50],
            Site::Checkpointer => &[1, 2, 3],
            Site::HealthMonitor => &[1, 2],
        };
        for visit in visits {
            assert_eq!(result(&with_faults(&[(site, *visit)]).await), undisturbed, "visit {visit} of {site}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_crashes_in_one_run_give_the_same_weights_and_trajectories() {
    let undisturbed = result(&Rig::default().run().await);
    let faults = [
        (Site::Environment, 20),
        (Site::Inference, 31),
        (Site::Judge, 7),
        (Site::Judge, 30),
        (Site::Conversation, 40),
        (Site::Checkpointer, 2),
        (Site::Learner, 60),
        (Site::Learner, 90),
    ];
    let ran = with_faults(&faults).await;
    assert_eq!(result(&ran), undisturbed);
    assert!(ran.count(|event| matches!(event, Event::EpisodeRetried { .. })) >= 4);
    assert_eq!(ran.count(|event| matches!(event, Event::Restored { .. })), 2);
}

#[tokio::test]
async fn an_engine_that_panics_on_its_thread_is_replaced_and_serves_the_current_weights() {
    let undisturbed = result(&Rig::default().run().await);
    let asked = Arc::new(AtomicUsize::new(0));
    let engine = move || -> Box<dyn Engine> {
        let asked = Arc::clone(&asked);
        Box::new(ScriptedEngine::new(move |_, request| {
            assert_ne!(asked.fetch_add(1, Relaxed), 100, "injected");
            sometimes_echo(request)
        }))
    };
    let ran = Rig { engine: Arc::new(engine), ..Rig::default() }.run().await;
    assert_eq!(result(&ran), undisturbed);
    assert!(ran.failures[0].contains("injected"), "{:?}", ran.failures);
    assert_eq!(ran.count(|event| matches!(event, Event::WeightsLoaded { .. })), 6);
}
