//! What was accepted is not done again, and a journal that fails changes nothing but how much is.

use std::sync::Arc;

use stateset_domain::{Digest, Entry, EpisodeCounts, PolicySnapshot, Record};
use stateset_telemetry::Event;
use stateset_testkit::{MemoryJournal, MemoryStore};

use crate::rig::{Ran, Rig};
use crate::runs::Choosy;

/// The journal of a run that never had a checkpoint, and what the run came to.
async fn journaled(rig: Rig) -> (Vec<Entry>, Ran) {
    let (store, journal) = (rig.store.clone(), rig.journal.clone());
    store.fail_next(usize::MAX);
    let ran = rig.run().await;
    (journal.entries(), ran)
}

fn replayed(ran: &Ran) -> u64 {
    let episodes = |event: &Event| match event {
        Event::EpisodesReplayed { episodes, .. } => *episodes,
        _ => 0,
    };
    ran.events.events().iter().map(episodes).sum()
}

fn accepted(entries: &[Entry]) -> u64 {
    entries.iter().filter(|entry| matches!(entry.record, Record::EpisodeAccepted(_))).count() as u64
}

#[tokio::test]
async fn a_run_that_ends_after_any_entry_goes_on_to_the_same_weights_and_redoes_only_what_is_missing() {
    let (entries, whole) = journaled(Rig::default()).await;
    assert_eq!((entries.len(), accepted(&entries)), (48 + 4 + 4, 48), "every episode, batch and step is there once");
    for written in (0..=entries.len()).step_by(5) {
        let journal = MemoryJournal::of(entries[..written].to_vec());
        let resumed = Rig { journal: journal.clone(), ..Rig::default() }.run().await;
        assert_eq!(resumed.digest(), whole.digest(), "after {written} entries");
        let episodes = |ran: &Ran| ran.recorder.finished.get().unwrap().episodes;
        assert_eq!(episodes(&resumed), episodes(&whole));
        assert_eq!(replayed(&resumed), accepted(&entries[..written]));
        // The evaluations are made anew: 40 episodes.
        let sampled = resumed.instruments.vitals.read().episodes;
        assert_eq!(sampled + replayed(&resumed), 40 + 48);
    }
}

#[tokio::test]
async fn a_run_that_samples_nothing_goes_on_after_any_entry_all_the_same() {
    let rig = || {
        let mut rig = Rig::default();
        rig.plan.groups_per_step = 0;
        rig
    };
    let (entries, whole) = journaled(rig()).await;
    assert_eq!((entries.len(), accepted(&entries)), (4 + 4, 0), "every batch and step is there once");
    assert_eq!(whole.recorder.finished.get().unwrap().episodes, EpisodeCounts::default());
    assert!(whole.recorder.steps.lock().unwrap().iter().all(|row| row.reward_mean.is_nan()));
    for written in 0..=entries.len() {
        let journal = MemoryJournal::of(entries[..written].to_vec());
        let resumed = Rig { journal, ..rig() }.run().await;
        assert_eq!((resumed.digest(), replayed(&resumed)), (whole.digest(), 0), "after {written} entries");
    }
}

#[tokio::test]
async fn a_batch_that_was_taken_without_its_failed_episodes_is_taken_without_them_again() {
    let rig = || Rig { reward: Arc::new(Choosy), ..Rig::default() };
    let (entries, whole) = journaled(rig()).await;
    let resumed = Rig { journal: MemoryJournal::of(entries), ..rig() }.run().await;
    assert_eq!(resumed.digest(), whole.digest());
    let episodes = |ran: &Ran| ran.recorder.finished.get().unwrap().episodes;
    assert_eq!(episodes(&resumed), episodes(&whole));
    assert_eq!(resumed.count(|event| matches!(event, Event::EpisodeRetried { .. })), 0, "nothing is rolled out");
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_is_told_once_and_what_is_missing_is_rolled_out_again() {
    let rig = Rig::default();
    rig.journal.fail_next(7);
    let (entries, ran) = journaled(rig).await;
    let told = |ran: &Ran| ran.count(|event| matches!(event, Event::JournalFailed { .. }));
    assert_eq!((told(&ran), entries.len()), (1, 48 + 4 + 4 - 7));
    let resumed = Rig { journal: MemoryJournal::of(entries.clone()), ..Rig::default() }.run().await;
    assert_eq!((resumed.digest(), replayed(&resumed)), (ran.digest(), accepted(&entries)));

    let rig = Rig::default();
    rig.journal.fail_next(usize::MAX);
    let without = rig.run().await;
    assert_eq!((without.digest(), told(&without)), (ran.digest(), 1));
}

#[tokio::test]
async fn a_step_that_leads_elsewhere_voids_what_is_recorded_of_later_ones() {
    let (mut entries, whole) = journaled(Rig::default()).await;
    let other: Digest = PolicySnapshot::digest_of(&[]);
    let second = entries.iter_mut().filter_map(|entry| match &mut entry.record {
        Record::StepCommitted { policy_digest, metrics } if metrics.step == 2 => Some(policy_digest),
        _ => None,
    });
    second.for_each(|digest| *digest = other);
    let journal = MemoryJournal::of(entries);
    let store = MemoryStore::default();
    store.fail_next(usize::MAX);
    let resumed = Rig { journal: journal.clone(), store, ..Rig::default() }.run().await;
    assert_eq!(resumed.digest(), whole.digest());
    assert_eq!(resumed.count(|event| matches!(event, Event::ReplayDiverged { step: 2, .. })), 1);
    assert_eq!(replayed(&resumed), 24, "the steps up to it");
    let timelines: Vec<u64> = journal.entries().iter().map(|entry| entry.timeline).collect();
    assert_eq!((timelines.iter().filter(|timeline| **timeline == 1).count(), timelines[55]), (1 + 24 + 2 + 2, 0));
}

#[tokio::test]
async fn the_journal_forgets_what_lies_before_the_oldest_checkpoint() {
    let rig = Rig::default();
    let journal = rig.journal.clone();
    rig.run().await;
    assert_eq!(journal.forgotten(), 2);
    assert_eq!(accepted(&journal.entries()), 24, "those of the steps since");
}
