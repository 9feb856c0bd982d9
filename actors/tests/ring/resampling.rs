//! Groups in place of those from which nothing can be learned.

use std::sync::{Arc, Mutex};

use stateset_actors::policy::Plan;
use stateset_actors::protocol::Site;
use stateset_domain::{Entry, Learner, Record, StepMetrics, StepReport, Trajectory};
use stateset_rewards::{Reward, RewardError, Score};
use stateset_telemetry::Event;
use stateset_testkit::{CountingLearner, FaultInjector, Listener, MemoryJournal};

use crate::rig::{Ran, Rig};

/// Finds all answers to every other scenario alike, and every other answer to the rest better.
struct Alternating;

impl Reward for Alternating {
    fn score(&self, trajectory: &Trajectory) -> Result<Score, RewardError> {
        let index: u64 = trajectory.scenario.rsplit('/').next().unwrap().parse().unwrap();
        let total = if index.is_multiple_of(2) { 0.5 } else { (trajectory.episode.member % 2) as f32 };
        Ok(Score { total, ..Score::default() })
    }
}

fn rig(max_resamples: u32) -> Rig {
    let plan = Plan { max_resamples, ..Rig::default().plan };
    Rig { plan, reward: Arc::new(Alternating), ..Rig::default() }
}

/// What each step of a run was taken on.
async fn steps(rig: Rig) -> (Ran, Vec<Vec<(u32, String)>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    let listener: Listener = Arc::new(move |groups| {
        let told = groups.iter().map(|group| (group.id.index, group.members[0].scenario.clone()));
        kept.lock().unwrap().push(told.collect());
    });
    let learner = move || -> Box<dyn Learner> { Box::new(CountingLearner::overheard(listener.clone())) };
    let ran = Rig { learner: Arc::new(learner), ..rig }.run().await;
    let seen = seen.lock().unwrap().clone();
    (ran, seen)
}

fn rows(ran: &Ran) -> Vec<StepMetrics> {
    ran.recorder.steps.lock().unwrap().clone()
}

#[tokio::test]
async fn flat_groups_are_made_up_for_by_other_scenarios_as_often_as_allowed() {
    let told = |found: &[(u32, &str)]| -> Vec<(u32, String)> {
        found.iter().map(|(index, scenario)| (*index, format!("echo/t/{scenario}"))).collect()
    };
    let (ran, never) = steps(rig(0)).await;
    assert_eq!(never[0], told(&[(0, "0"), (1, "1"), (2, "2")]));
    assert_eq!(rows(&ran)[0].learner.frac_zero_std_groups, StepReport::default().frac_zero_std_groups);

    // Scenarios 0 and 2 are flat. Of 12 and 13 in their place 12 is, and so is 14 in its place: the second time was the last.
    let (ran, twice) = steps(rig(2)).await;
    assert_eq!(twice[0], told(&[(1, "1"), (4, "13")]));
    // Of step 2, 4 is flat, and 18 in its place; 19 is not.
    assert_eq!(twice[1], told(&[(0, "3"), (2, "5"), (4, "19")]));
    let row = &rows(&ran)[0];
    assert!((row.learner.frac_zero_std_groups - 4.0 / 6.0).abs() < 1e-12, "of everything that was sampled");
    assert!((row.reward_mean - 0.5).abs() < 1e-12);
    let episodes = ran.recorder.finished.get().unwrap().episodes;
    // Steps 1 and 3 are given three groups more, steps 2 and 4 two.
    assert_eq!((episodes.started, episodes.completed, episodes.lost()), (4 * (12 + 10), 88, 0));
}

#[tokio::test]
async fn which_groups_are_made_up_for_does_not_depend_on_how_many_episodes_are_live() {
    let (one, few) = steps(Rig { live_episodes: 1, ..rig(2) }).await;
    let (many, all) = steps(Rig { live_episodes: 64, ..rig(2) }).await;
    assert_eq!((few, one.digest()), (all, many.digest()));
}

/// Nothing differs.
struct Flat;

impl Reward for Flat {
    fn score(&self, _: &Trajectory) -> Result<Score, RewardError> {
        Ok(Score { total: 1.0, ..Score::default() })
    }
}

#[tokio::test]
async fn where_nothing_differs_the_step_is_taken_on_what_there_is() {
    let (ran, seen) = steps(Rig { reward: Arc::new(Flat), ..rig(1) }).await;
    assert!(seen.len() == 4 && seen.iter().all(|groups| groups.len() == 6), "{seen:?}");
    assert!(rows(&ran).iter().all(|row| row.learner.frac_zero_std_groups == 1.0));
}

fn accepted(entries: &[Entry]) -> u64 {
    entries.iter().filter(|entry| matches!(entry.record, Record::EpisodeAccepted(_))).count() as u64
}

fn replayed(ran: &Ran) -> u64 {
    let episodes = |event: &Event| match event {
        Event::EpisodesReplayed { episodes, .. } => *episodes,
        _ => 0,
    };
    ran.events.events().iter().map(episodes).sum()
}

#[tokio::test]
async fn a_run_that_ends_anywhere_makes_up_for_the_same_groups_when_it_goes_on() {
    let whole = rig(2);
    let (store, journal) = (whole.store.clone(), whole.journal.clone());
    store.fail_next(usize::MAX);
    let (whole, seen) = steps(whole).await;
    let entries = journal.entries();
    assert_eq!((entries.len(), accepted(&entries)), (88 + 4 + 4, 88));
    for written in (0..=entries.len()).step_by(5) {
        let journal = MemoryJournal::of(entries[..written].to_vec());
        let (resumed, again) = steps(Rig { journal, ..rig(2) }).await;
        assert_eq!(resumed.digest(), whole.digest(), "after {written} entries");
        assert_eq!(again, seen);
        let measured = |ran: &Ran| -> Vec<_> {
            rows(ran)
                .iter()
                .map(|row| (row.reward_mean, row.learner.frac_zero_std_groups, row.rollout_tokens))
                .collect()
        };
        assert_eq!(measured(&resumed), measured(&whole));
        let episodes = |ran: &Ran| ran.recorder.finished.get().unwrap().episodes;
        assert_eq!((episodes(&resumed), replayed(&resumed)), (episodes(&whole), accepted(&entries[..written])));
    }
}

#[tokio::test]
async fn a_learner_that_crashes_meanwhile_costs_nothing() {
    let (whole, _) = steps(rig(2)).await;
    let probe = Arc::new(FaultInjector::new([(Site::Learner, 20), (Site::Learner, 45), (Site::Learner, 80)]));
    let (crashed, _) = steps(Rig { probe, ..rig(2) }).await;
    assert_eq!(crashed.digest(), whole.digest());
    assert!(!crashed.failures.is_empty());
    let episodes = |ran: &Ran| ran.recorder.finished.get().unwrap().episodes;
    assert_eq!(episodes(&crashed), episodes(&whole));
}
