//! What the journal holds of the steps to come: episodes that need not be rolled out again.
//!
//! An entry may be there twice, for it is appended again whenever nobody can say whether it was; the first one counts. What a timeline
//! holds beyond the step to which the run was sent back from it is void.

use std::collections::{BTreeMap, BTreeSet};

use stateset_domain::{Digest, Entry, EpisodeId, Record, Trajectory};

/// Everything recorded of the steps after the one that a run goes on from.
#[derive(Debug, Default)]
pub struct Recollection {
    timeline: u64,
    steps: BTreeMap<u64, RecordedStep>,
}

/// What is recorded of one step.
#[derive(Debug, Default, PartialEq)]
pub struct RecordedStep {
    /// The episodes that were accepted for it.
    pub accepted: BTreeMap<EpisodeId, Box<Trajectory>>,
    /// The episodes that it was taken on, if it was.
    pub consumed: Option<BTreeSet<EpisodeId>>,
    /// The weights it led to, if it was taken.
    pub committed: Option<Digest>,
}

impl RecordedStep {
    /// Hands over what is recorded of the episodes that `holds` is true for.
    #[must_use]
    pub fn part(&mut self, holds: impl Fn(EpisodeId) -> bool) -> Self {
        let (accepted, rest) = std::mem::take(&mut self.accepted).into_iter().partition(|(id, _)| holds(*id));
        self.accepted = rest;
        Self { accepted, consumed: self.consumed.clone(), committed: self.committed }
    }
}

impl Recollection {
    /// What `entries` hold of the steps after `step`.
    pub fn of(entries: impl IntoIterator<Item = Entry>, step: u64) -> Self {
        let mut recollection = Self::default();
        entries.into_iter().for_each(|entry| recollection.hear(entry));
        recollection.steps.retain(|recorded, _| *recorded > step);
        recollection
    }

    fn hear(&mut self, Entry { timeline, record }: Entry) {
        if timeline < self.timeline {
            return;
        }
        self.timeline = timeline;
        if let Record::RunRestored { step, .. } = record {
            self.void_after(step);
            return;
        }
        let step = self.steps.entry(record.step()).or_default();
        match record {
            Record::EpisodeAccepted(trajectory) => {
                step.accepted.entry(trajectory.episode).or_insert(trajectory);
            }
            Record::BatchConsumed { episodes, .. } => {
                step.consumed.get_or_insert_with(|| episodes.into_iter().collect());
            }
            Record::StepCommitted { policy_digest, .. } => {
                step.committed.get_or_insert(policy_digest);
            }
            // A failure counts once its batch is consumed without it; until then the episode is worth another try.
            Record::EpisodeFailed { .. } | Record::DirectiveApplied { .. } | Record::RunRestored { .. } => {}
        }
    }

    /// The run goes on from `step` in another way: nothing recorded of later steps will come true.
    pub fn void_after(&mut self, step: u64) {
        self.steps.retain(|recorded, _| *recorded <= step);
    }

    /// The timeline that the run is on.
    #[must_use]
    pub fn timeline(&self) -> u64 {
        self.timeline
    }

    /// Begins a timeline at `step`.
    pub fn begin_timeline(&mut self, step: u64) {
        self.timeline += 1;
        self.void_after(step);
    }

    /// How many accepted episodes there are.
    #[must_use]
    pub fn episodes(&self) -> usize {
        self.steps.values().map(|step| step.accepted.len()).sum()
    }

    /// Hands over what is recorded of `step`.
    #[must_use]
    pub fn take(&mut self, step: u64) -> RecordedStep {
        self.steps.remove(&step).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use stateset_domain::{GroupId, PolicySnapshot, PolicyVersion, Purpose, StepMetrics, StepReport};

    use super::*;

    fn id(step: u64, member: u32) -> EpisodeId {
        EpisodeId { group: GroupId { purpose: Purpose::Train, step, index: 0 }, member }
    }

    fn accepted(timeline: u64, step: u64, member: u32, scenario: &str) -> Entry {
        let trajectory = Trajectory::new(id(step, member), scenario);
        Entry { timeline, record: Record::EpisodeAccepted(Box::new(trajectory)) }
    }

    fn restored(timeline: u64, step: u64) -> Entry {
        Entry { timeline, record: Record::RunRestored { step, reason: "a spike".into() } }
    }

    fn scenarios(recollection: &mut Recollection, step: u64) -> Vec<String> {
        recollection.take(step).accepted.into_values().map(|trajectory| trajectory.scenario).collect()
    }

    #[test]
    fn an_episode_recorded_twice_is_remembered_once() {
        let entries = [accepted(0, 1, 0, "first"), accepted(0, 1, 0, "again"), accepted(0, 1, 1, "other")];
        let mut recollection = Recollection::of(entries, 0);
        assert_eq!(recollection.episodes(), 2);
        assert_eq!(scenarios(&mut recollection, 1), ["first", "other"]);
        assert_eq!(recollection.take(1), RecordedStep::default(), "it was handed over");
    }

    #[test]
    fn only_steps_to_come_are_remembered() {
        let mut recollection = Recollection::of([accepted(0, 4, 0, "past"), accepted(0, 5, 0, "next")], 4);
        assert_eq!((scenarios(&mut recollection, 4), scenarios(&mut recollection, 5).len()), (vec![], 1));
    }

    #[test]
    fn what_an_abandoned_timeline_holds_of_later_steps_is_void() {
        let entries = [
            accepted(0, 6, 0, "kept"),
            accepted(0, 7, 0, "abandoned"),
            accepted(0, 9, 0, "abandoned"),
            restored(1, 6),
            accepted(0, 8, 0, "from a writer of the old timeline"),
            accepted(1, 7, 0, "kept"),
        ];
        let mut recollection = Recollection::of(entries, 5);
        assert_eq!((recollection.timeline(), recollection.episodes()), (1, 2));
        assert_eq!([scenarios(&mut recollection, 6), scenarios(&mut recollection, 7)].concat(), ["kept", "kept"]);
    }

    #[test]
    fn a_timeline_that_began_at_a_step_long_saved_still_voids_the_ones_before() {
        let entries = [accepted(0, 9, 0, "abandoned"), restored(1, 6), accepted(1, 7, 0, "past")];
        assert_eq!(Recollection::of(entries, 8).episodes(), 0);
    }

    #[test]
    fn a_consumed_batch_and_its_weights_are_remembered() {
        let batch = Record::BatchConsumed { step: 3, episodes: vec![id(3, 1), id(3, 0)] };
        let failed = stateset_domain::FailureKind::Abandoned;
        let failed = Record::EpisodeFailed { episode: id(3, 2), attempts: 3, failure: failed };
        let policy_digest = PolicySnapshot::digest_of(&[]);
        let metrics = StepMetrics {
            step: 3,
            policy_version: PolicyVersion(3),
            reward_mean: 0.0,
            reward_std: 0.0,
            success_rate: 0.0,
            episodes_failed: 1,
            rollout_tokens: 0,
            rollout_seconds: 0.0,
            train_seconds: 0.0,
            learner: StepReport::default(),
        };
        let committed = Record::StepCommitted { policy_digest, metrics };
        let entries = [batch, failed, committed].map(|record| Entry { timeline: 0, record });
        let step = Recollection::of(entries, 2).take(3);
        assert_eq!(step.consumed, Some([id(3, 0), id(3, 1)].into()));
        assert_eq!((step.committed, step.accepted.len()), (Some(policy_digest), 0));
    }
}
