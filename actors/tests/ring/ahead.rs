//! Rounds that are rolled out while the learner steps.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use stateset_actors::policy::Plan;
use stateset_actors::protocol::Site;
use stateset_domain::{Engine, Entry, Group, Learner, Record};
use stateset_telemetry::Event;
use stateset_testkit::{CountingLearner, FaultInjector, Listener, MemoryJournal, ScriptedEngine};

use crate::rig::{Ran, Rig, sometimes_echo};

const STEPS: u64 = 4;

/// The latest step that a token was sampled for.
#[derive(Default)]
struct Sampled {
    step: Mutex<u64>,
    more: Condvar,
}

impl Sampled {
    fn note(&self, prompt: &str) {
        // The first word of scenario 7, whose three groups a step make it one of step 3, is "t7-0".
        let Some((index, _)) = prompt.strip_prefix('t').and_then(|rest| rest.split_once('-')) else { return };
        let step = index.parse::<u64>().unwrap() / 3 + 1;
        let mut latest = self.step.lock().unwrap();
        *latest = step.max(*latest);
        self.more.notify_all();
    }

    fn wait_for(&self, step: u64) {
        let latest = self.step.lock().unwrap();
        let waited = self.more.wait_timeout_while(latest, Duration::from_secs(20), |latest| *latest < step).unwrap();
        assert!(!waited.1.timed_out(), "nothing is sampled for step {step} while the learner steps");
    }
}

/// How old the oldest token is of what a step is taken on.
fn oldest_of(groups: &[Group], step: u64) -> u64 {
    let members = groups.iter().flat_map(|group| &group.members);
    let tokens = members.flat_map(|member| member.versions.iter().zip(&member.mask));
    let ages = tokens.filter(|(_, sampled)| **sampled).map(|(version, _)| step - 1 - version.0);
    ages.max().unwrap()
}

fn plan() -> Plan {
    Plan { max_staleness: 1, ..Rig::default().plan }
}

/// A ring that samples one round ahead, whose learner does not finish a step before something was sampled for the next one; and the age of
/// each step's oldest token.
fn ahead() -> (Rig, Arc<Mutex<Vec<u64>>>) {
    let (sampled, oldest): (Arc<Sampled>, Arc<Mutex<Vec<u64>>>) = Default::default();
    let seen = sampled.clone();
    let engine = move || -> Box<dyn Engine> {
        let seen = seen.clone();
        Box::new(ScriptedEngine::new(move |prompt, request| {
            seen.note(prompt);
            sometimes_echo(request)
        }))
    };
    let ages = oldest.clone();
    let listener: Listener = Arc::new(move |groups| {
        let step = groups[0].id.step;
        ages.lock().unwrap().push(oldest_of(groups, step));
        if step < STEPS {
            sampled.wait_for(step + 1);
        }
    });
    let learner = move || -> Box<dyn Learner> { Box::new(CountingLearner::overheard(listener.clone())) };
    (Rig { plan: plan(), engine: Arc::new(engine), learner: Arc::new(learner), ..Rig::default() }, oldest)
}

fn assert_whole(ran: &Ran) {
    let finished = ran.recorder.finished.get().unwrap_or_else(|| panic!("not finished: {:?}", ran.failures));
    assert_eq!((finished.step, finished.episodes.completed, finished.episodes.lost()), (STEPS, 48, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollouts_go_on_while_the_learner_steps_and_no_token_is_older_than_allowed() {
    let (rig, oldest) = ahead();
    let ran = rig.run().await;
    assert_whole(&ran);
    assert_eq!(*oldest.lock().unwrap(), [0, 1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evaluations_are_made_by_the_policy_they_are_about() {
    let (rig, _) = ahead();
    let ran = Rig { plan: Plan { eval_every: 2, ..plan() }, ..rig }.run().await;
    assert_whole(&ran);
    let evaluations = ran.recorder.evaluations.lock().unwrap();
    assert_eq!(evaluations.len(), 6);
    for made in evaluations.iter() {
        let versions = made.samples.iter().flat_map(|it| it.versions.iter().zip(&it.mask));
        assert!(versions.filter(|(_, sampled)| **sampled).all(|(version, _)| version.0 == made.at_step));
    }
}

/// What was taken in, up to and with the commit of `step`.
fn until(entries: &[Entry], step: u64) -> Vec<Entry> {
    let commit = |entry: &Entry| matches!(&entry.record, Record::StepCommitted { metrics, .. } if metrics.step == step);
    entries[..=entries.iter().position(commit).unwrap()].to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asynchronous_run_is_resumed_on_exactly_the_batches_that_it_consumed() {
    let (rig, _) = ahead();
    rig.store.fail_next(usize::MAX);
    let journal = rig.journal.clone();
    let whole = rig.run().await;
    assert_whole(&whole);
    let entries = journal.entries();
    let rows = |ran: &Ran, step: u64| -> Vec<(u64, f64)> {
        let rows = ran.recorder.steps.lock().unwrap();
        rows.iter().filter(|row| row.step <= step).map(|row| (row.step, row.reward_mean)).collect()
    };
    for step in 1..=STEPS {
        let journal = MemoryJournal::of(until(&entries, step));
        let resumed = Rig { plan: plan(), journal, ..Rig::default() }.run().await;
        assert_whole(&resumed);
        assert_eq!(resumed.count(|event| matches!(event, Event::ReplayDiverged { .. })), 0);
        assert_eq!(rows(&resumed, step), rows(&whole, step));
        assert!(step < STEPS || resumed.digest() == whole.digest());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_replaced_meanwhile_serves_nothing_older_than_allowed() {
    let (rig, oldest) = ahead();
    let (engine, asked) = (rig.engine.clone(), Arc::new(AtomicUsize::new(0)));
    let fails = move || -> Box<dyn Engine> {
        assert_ne!(asked.fetch_add(1, Relaxed), 1, "injected: the second engine cannot be built");
        engine()
    };
    let probe = Arc::new(FaultInjector::new([(Site::Inference, 60), (Site::Inference, 130)]));
    let ran = Rig { engine: Arc::new(fails), probe, restarts: 5, ..rig }.run().await;
    assert_whole(&ran);
    assert!(oldest.lock().unwrap().iter().all(|age| *age <= 1), "{oldest:?}");
    assert!(ran.failures.len() >= 3, "{:?}", ran.failures);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_of_the_learner_cost_an_asynchronous_run_no_episode() {
    let (rig, oldest) = ahead();
    let probe = Arc::new(FaultInjector::new([(Site::Learner, 40), (Site::Learner, 70), (Site::Checkpointer, 30)]));
    let ran = Rig { probe, ..rig }.run().await;
    assert_whole(&ran);
    assert!(oldest.lock().unwrap().iter().all(|age| *age <= 1), "{oldest:?}");
}
