//! What a run does when nothing breaks, and when its edges do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use stateset_actors::policy::Plan;
use stateset_actors::protocol::FinishReason;
use stateset_domain::{Engine, EpisodeCounts, Purpose, Scenario, Split, Stream, Trajectory};
use stateset_environments::{Action, Environment, EnvironmentError, Session, Start, Step};
use stateset_rewards::{Reward, RewardError, Score};
use stateset_telemetry::Event;
use stateset_testkit::{DeafEngine, EchoEnvironment, MeanTurnReward, MemoryStore, ScriptedEngine};

use crate::rig::{Rig, sometimes_echo};

#[tokio::test]
async fn a_run_takes_its_steps_and_evaluates_before_and_after() {
    let rig = Rig::default();
    let store = rig.store.clone();
    let ran = rig.run().await;
    let finished = ran.recorder.finished.get().unwrap();
    assert_eq!((finished.step, finished.reason, &finished.unsaved), (4, FinishReason::Completed, &None));
    assert_eq!(finished.episodes, EpisodeCounts { started: 48, completed: 48, ..EpisodeCounts::default() });

    let steps = ran.recorder.steps.lock().unwrap().clone();
    assert_eq!(
        steps.iter().map(|row| (row.step, row.policy_version.0)).collect::<Vec<_>>(),
        [(1, 1), (2, 2), (3, 3), (4, 4)]
    );
    assert!(steps.iter().all(|row| row.reward_mean > 0.3 && row.reward_mean < 1.0 && row.reward_std > 0.0));

    let evaluations = ran.recorder.evaluations.lock().unwrap().clone();
    let made: Vec<_> = evaluations.iter().map(|made| (made.at_step, made.purpose, made.episodes)).collect();
    let (sampled, greedy) = (Purpose::EvaluateSampled, Purpose::EvaluateGreedy);
    assert_eq!(made, [(0, sampled, 10), (0, greedy, 10), (4, sampled, 10), (4, greedy, 10)]);
    assert!(evaluations.iter().all(|made| made.samples.len() == 8 && made.samples[3].scenario == "echo/h/3"));

    let saved = store.checkpoints();
    assert_eq!(saved.iter().map(|checkpoint| checkpoint.progress.step).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(saved[1].progress.policy_digest.to_string(), ran.digest());
    assert_eq!(ran.count(|event| matches!(event, Event::WeightsLoaded { .. })), 5);
}

#[tokio::test]
async fn the_result_does_not_depend_on_how_many_episodes_are_live() {
    let run = async |live_episodes| Rig { live_episodes, ..Rig::default() }.run().await.digest();
    assert_eq!(run(1).await, run(64).await);
}

/// Counts the sessions that are alive.
struct Counting {
    live: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct Counted {
    session: Box<dyn Session>,
    live: Arc<AtomicUsize>,
}

impl Environment for Counting {
    fn scenario(&self, split: Split, index: u64) -> Scenario {
        EchoEnvironment { turns: 3 }.scenario(split, index)
    }

    fn start(&self, scenario: &Scenario, stream: Stream) -> Result<Start, EnvironmentError> {
        let Start { opening, session } = EchoEnvironment { turns: 3 }.start(scenario, stream)?;
        let live = Arc::clone(&self.live);
        self.most.fetch_max(live.fetch_add(1, Relaxed) + 1, Relaxed);
        Ok(Start { opening, session: Box::new(Counted { session, live }) })
    }
}

impl Session for Counted {
    fn step(&mut self, action: &Action) -> Result<Step, EnvironmentError> {
        self.session.step(action)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Relaxed);
    }
}

#[tokio::test]
async fn no_more_episodes_are_live_than_there_are_permits() {
    let live = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let environment = Arc::new(Counting { live: live.clone(), most: most.clone() });
    let ran = Rig { live_episodes: 3, environment, ..Rig::default() }.run().await;
    assert!((1..=3).contains(&most.load(Relaxed)), "{most:?}");
    assert_eq!((live.load(Relaxed), ran.instruments.conversations.count()), (0, 0));
}

#[tokio::test]
async fn an_interrupted_run_saves_its_last_step_and_goes_on_as_if_nothing_had_happened() {
    let whole = Rig::default().run().await;
    let store = MemoryStore::default();
    let stopped = Rig { interrupt_after: Some(3), store: store.clone(), ..Rig::default() }.run().await;
    let finished = stopped.recorder.finished.get().unwrap();
    assert_eq!((finished.step, finished.reason, finished.episodes.lost()), (3, FinishReason::Interrupted, 0));
    assert_eq!(store.checkpoints().last().unwrap().progress.step, 3);

    let resumed = Rig { store, ..Rig::default() }.run().await;
    assert_eq!(resumed.recorder.restored.lock().unwrap().as_slice(), [3]);
    assert_eq!(resumed.recorder.finished.get().unwrap().episodes, whole.recorder.finished.get().unwrap().episodes);
    assert_eq!(resumed.digest(), whole.digest());
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_written_does_not_stop_the_run() {
    let rig = Rig::default();
    rig.store.fail_next(1);
    let ran = rig.run().await;
    assert_eq!(ran.count(|event| matches!(event, Event::CheckpointFailed { step: 2, .. })), 1);
    assert_eq!(ran.recorder.finished.get().unwrap().unsaved, None, "a later one was written");

    let rig = Rig::default();
    rig.store.fail_next(usize::MAX);
    let unsaved = rig.run().await.recorder.finished.get().unwrap().unsaved.clone();
    assert!(unsaved.unwrap().contains("memory/4"));
}

/// Cannot score the first member of the first group of each step.
pub(crate) struct Choosy;

impl Reward for Choosy {
    fn score(&self, trajectory: &Trajectory) -> Result<Score, RewardError> {
        let id = trajectory.episode;
        if id.group.purpose == Purpose::Train && (id.group.index, id.member) == (0, 0) {
            return Err(RewardError("no opinion".into()));
        }
        MeanTurnReward.score(trajectory)
    }
}

#[tokio::test]
async fn an_episode_that_cannot_be_judged_is_recorded_as_failed_and_its_group_goes_on() {
    let ran = Rig { reward: Arc::new(Choosy), ..Rig::default() }.run().await;
    let counts = EpisodeCounts { started: 48, completed: 44, failed: 4, duplicated: 0 };
    assert_eq!(ran.recorder.finished.get().unwrap().episodes, counts);
    assert!(ran.recorder.steps.lock().unwrap().iter().all(|row| row.episodes_failed == 1));
    assert_eq!(ran.count(|event| matches!(event, Event::EpisodeRetried { .. })), 16);
    assert_eq!(ran.count(|event| matches!(event, Event::EpisodeFailed { attempts: 5, .. })), 4);
}

#[tokio::test]
async fn another_runs_checkpoint_is_refused() {
    let rig = Rig::default();
    let (store, plan) = (rig.store.clone(), rig.plan.clone());
    rig.run().await;
    let ran = Rig { store, plan: Plan { seed: 8, ..plan }, restarts: 0, ..Rig::default() }.run().await;
    assert_eq!(ran.failures, ["the checkpoint belongs to a run with seed 7, this run has seed 8"]);
}

#[tokio::test]
async fn an_engine_that_serves_other_weights_stops_the_learner() {
    let engine = Arc::new(|| -> Box<dyn Engine> {
        Box::new(DeafEngine(ScriptedEngine::new(|_, request| sometimes_echo(request))))
    });
    let ran = Rig { engine, restarts: 0, ..Rig::default() }.run().await;
    // Whoever of the two is heard first.
    let told = ["but the engine serves", "the engine holds other weights than were published"];
    assert!(told.iter().any(|told| ran.failures[0].contains(told)), "{:?}", ran.failures);
}
