//! One round of episodes: which are expected, which came home, and which are tried again.
//!
//! The result is a function of the set of trajectories and never of the order in which they arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stateset_domain::{EpisodeCounts, EpisodeId, FailureKind, Group, GroupId, Trajectory, is_flat};

use super::RecordedStep;

/// How often an episode is attempted, and how long to wait in between: doubling, up to a cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Attempts before an episode is given up on, at least 1.
    pub attempts: u32,
    /// The wait after the first failed attempt.
    pub first_delay: Duration,
    /// The longest wait.
    pub max_delay: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 5, first_delay: Duration::from_millis(50), max_delay: Duration::from_secs(5) }
    }
}

impl Retries {
    /// The wait after the failure of `attempt`, from 1.
    #[must_use]
    pub fn delay(&self, attempt: u32) -> Duration {
        self.first_delay.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(self.max_delay)
    }

    /// Whether to try again after `attempt` failed. A conversation that outgrew its context would do so again.
    #[must_use]
    pub fn again(&self, attempt: u32, failure: &FailureKind) -> bool {
        match failure {
            FailureKind::ContextFull { .. } => false,
            FailureKind::Inference(_)
            | FailureKind::Environment(_)
            | FailureKind::Judge(_)
            | FailureKind::Deadline(_)
            | FailureKind::Abandoned => attempt < self.attempts,
        }
    }
}

/// Episodes on their way.
#[derive(Debug)]
pub struct Round {
    epoch: u64,
    retries: Retries,
    episodes: BTreeMap<EpisodeId, Standing>,
    open: usize,
}

#[derive(Debug)]
enum Standing {
    Live { attempt: u32 },
    Finished(Box<Trajectory>),
    Failed,
}

/// What to do about a ticket that came home.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The trajectory was kept.
    Accept,
    /// Try the episode again.
    Reissue {
        /// The attempt to make.
        attempt: u32,
        /// How long to wait first.
        delay: Duration,
    },
    /// The episode has failed for good.
    GiveUp,
    /// The episode was settled before: dropped.
    Duplicate,
    /// It belongs to another incarnation, another round or an earlier attempt: dropped.
    Stale,
}

/// What a round brought.
#[derive(Debug, Clone, PartialEq)]
pub struct Harvest {
    /// The groups that can be compared, by index, their members in order.
    pub groups: Vec<Group>,
    /// What became of the episodes.
    pub counts: EpisodeCounts,
}

impl Round {
    /// A round of `episodes`, each at its first attempt, wanted by the learner incarnation `epoch`.
    pub fn new(epoch: u64, retries: Retries, episodes: impl IntoIterator<Item = EpisodeId>) -> Self {
        let episodes: BTreeMap<_, _> = episodes.into_iter().map(|id| (id, Standing::Live { attempt: 1 })).collect();
        Self { epoch, retries, open: episodes.len(), episodes }
    }

    /// More episodes are wanted.
    pub fn extend(&mut self, episodes: impl IntoIterator<Item = EpisodeId>) {
        for id in episodes {
            self.episodes.entry(id).or_insert_with(|| {
                self.open += 1;
                Standing::Live { attempt: 1 }
            });
        }
    }

    /// How many groups have `min_members` that can be compared and differ.
    #[must_use]
    pub fn informative(&self, min_members: usize) -> usize {
        let mut groups: BTreeMap<GroupId, Vec<f64>> = BTreeMap::new();
        for (id, standing) in &self.episodes {
            if let Standing::Finished(trajectory) = standing {
                groups.entry(id.group).or_default().extend(trajectory.reward.map(f64::from));
            }
        }
        groups.values().filter(|rewards| rewards.len() >= min_members && !is_flat(rewards)).count()
    }

    /// Takes in what the journal holds of this round, and says how many episodes need not be rolled out again. Once its batch was
    /// consumed, an episode that was not part of it has failed.
    pub fn remember(&mut self, recorded: RecordedStep) -> u64 {
        let before = self.open;
        for (id, trajectory) in recorded.accepted {
            if let Some(standing @ Standing::Live { .. }) = self.episodes.get_mut(&id) {
                *standing = Standing::Finished(trajectory);
                self.open -= 1;
            }
        }
        let remembered = before - self.open;
        if let Some(batch) = recorded.consumed {
            for (_, standing) in self.episodes.iter_mut().filter(|(id, _)| !batch.contains(id)) {
                if matches!(standing, Standing::Live { .. }) {
                    *standing = Standing::Failed;
                    self.open -= 1;
                }
            }
        }
        remembered as u64
    }

    /// The episodes that are to be rolled out, in order.
    pub fn awaited(&self) -> impl Iterator<Item = EpisodeId> {
        self.episodes.iter().filter(|(_, standing)| matches!(standing, Standing::Live { .. })).map(|(id, _)| *id)
    }

    /// Whether `episode` is one of its own.
    #[must_use]
    pub fn holds(&self, episode: EpisodeId) -> bool {
        self.episodes.contains_key(&episode)
    }

    /// An episode came home, finished.
    pub fn complete(&mut self, epoch: u64, trajectory: Box<Trajectory>) -> Decision {
        match self.episodes.get_mut(&trajectory.episode) {
            Some(standing @ Standing::Live { .. }) if epoch == self.epoch => {
                *standing = Standing::Finished(trajectory);
                self.open -= 1;
                Decision::Accept
            }
            Some(Standing::Finished(_) | Standing::Failed) if epoch == self.epoch => Decision::Duplicate,
            Some(_) | None => Decision::Stale,
        }
    }

    /// An attempt came home without its episode.
    pub fn abort(&mut self, epoch: u64, episode: EpisodeId, attempt: u32, failure: &FailureKind) -> Decision {
        if !self.expects(epoch, episode, attempt) {
            return Decision::Stale;
        }
        if self.retries.again(attempt, failure) {
            self.episodes.insert(episode, Standing::Live { attempt: attempt + 1 });
            Decision::Reissue { attempt: attempt + 1, delay: self.retries.delay(attempt) }
        } else {
            self.episodes.insert(episode, Standing::Failed);
            self.open -= 1;
            Decision::GiveUp
        }
    }

    /// Whether `attempt` is the one that is awaited.
    #[must_use]
    pub fn expects(&self, epoch: u64, episode: EpisodeId, attempt: u32) -> bool {
        let live = |standing: &Standing| matches!(standing, Standing::Live { attempt: now } if *now == attempt);
        epoch == self.epoch && self.episodes.get(&episode).is_some_and(live)
    }

    /// Whether every episode has finished or failed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.open == 0
    }

    /// The groups with at least `min_members` finished members, and what became of every episode.
    #[must_use]
    pub fn harvest(self, min_members: usize) -> Harvest {
        let mut counts = EpisodeCounts::default();
        let mut groups: BTreeMap<GroupId, Vec<Trajectory>> = BTreeMap::new();
        for (id, standing) in self.episodes {
            counts.started += 1;
            match standing {
                Standing::Live { .. } => {}
                Standing::Failed => counts.failed += 1,
                Standing::Finished(trajectory) => {
                    counts.completed += 1;
                    groups.entry(id.group).or_default().push(*trajectory);
                }
            }
        }
        let handed: Vec<EpisodeId> = groups.values().flatten().map(|trajectory| trajectory.episode).collect();
        counts.duplicated = (handed.len() - handed.iter().collect::<BTreeSet<_>>().len()) as u64;
        let groups = groups.into_iter().filter(|(_, members)| members.len() >= min_members);
        Harvest { groups: groups.map(|(id, members)| Group { id, members }).collect(), counts }
    }
}

#[cfg(test)]
mod tests {
    use stateset_domain::{Purpose, Stream};

    use super::*;

    const EPOCH: u64 = 4;

    fn id(index: u32, member: u32) -> EpisodeId {
        EpisodeId { group: GroupId { purpose: Purpose::Train, step: 1, index }, member }
    }

    fn ids() -> Vec<EpisodeId> {
        (0..3).flat_map(|index| (0..2).map(move |member| id(index, member))).collect()
    }

    fn round() -> Round {
        Round::new(EPOCH, Retries { attempts: 3, ..Retries::default() }, ids())
    }

    fn finished(episode: EpisodeId) -> Box<Trajectory> {
        Box::new(Trajectory::new(episode, format!("{episode}")))
    }

    #[test]
    fn a_round_of_no_episodes_is_done_before_it_begins() {
        let round = Round::new(EPOCH, Retries::default(), []);
        assert!(round.is_done() && round.awaited().next().is_none());
        let harvest = round.harvest(2);
        assert_eq!((harvest.groups, harvest.counts), (vec![], EpisodeCounts::default()));
    }

    #[test]
    fn groups_do_not_depend_on_the_order_of_arrival() {
        let arrive_in = |order: &[usize]| {
            let mut round = round();
            order.iter().for_each(|i| assert_eq!(round.complete(EPOCH, finished(ids()[*i])), Decision::Accept));
            assert!(round.is_done());
            round.harvest(2)
        };
        let sorted = arrive_in(&[0, 1, 2, 3, 4, 5]);
        assert_eq!(sorted.groups.iter().map(|group| group.id.index).collect::<Vec<_>>(), [0, 1, 2]);
        for seed in 0..20 {
            assert_eq!(arrive_in(&Stream::new(seed).sample_indices(6, 6)), sorted);
        }
    }

    #[test]
    fn a_failed_attempt_is_reissued_after_a_doubling_delay_and_then_given_up_on() {
        let mut round = round();
        let mut fail = |attempt| round.abort(EPOCH, id(0, 0), attempt, &FailureKind::Abandoned);
        assert_eq!(fail(1), Decision::Reissue { attempt: 2, delay: Duration::from_millis(50) });
        assert_eq!(fail(1), Decision::Stale, "the first attempt is over");
        assert_eq!(fail(2), Decision::Reissue { attempt: 3, delay: Duration::from_millis(100) });
        assert_eq!(fail(3), Decision::GiveUp);
        assert_eq!(fail(3), Decision::Stale);
        assert_eq!(Retries::default().delay(60), Duration::from_secs(5));
    }

    #[test]
    fn a_full_context_is_not_tried_again() {
        let failure = FailureKind::ContextFull { tokens: 10, limit: 8 };
        assert_eq!(round().abort(EPOCH, id(0, 0), 1, &failure), Decision::GiveUp);
    }

    #[test]
    fn every_episode_is_counted_once_however_it_came_home() {
        let mut round = round();
        assert_eq!(round.complete(EPOCH - 1, finished(id(0, 0))), Decision::Stale);
        assert_eq!(round.abort(EPOCH - 1, id(0, 0), 1, &FailureKind::Abandoned), Decision::Stale);
        assert_eq!(round.complete(EPOCH, finished(id(7, 0))), Decision::Stale);
        for attempt in 1..=3 {
            round.abort(EPOCH, id(2, 1), attempt, &FailureKind::Judge("no".into()));
        }
        round.abort(EPOCH, id(0, 0), 1, &FailureKind::Abandoned);
        ids().into_iter().take(5).for_each(|id| assert_eq!(round.complete(EPOCH, finished(id)), Decision::Accept));
        assert_eq!(round.complete(EPOCH, finished(id(0, 0))), Decision::Duplicate);
        assert!(round.is_done());
        let harvest = round.harvest(2);
        assert_eq!(harvest.counts, EpisodeCounts { started: 6, completed: 5, failed: 1, duplicated: 0 });
        assert_eq!(harvest.counts.lost(), 0);
        assert_eq!(harvest.groups.len(), 2, "a group of one has nobody to be compared with");
    }

    #[test]
    fn a_round_that_is_extended_awaits_what_is_new_and_nothing_twice() {
        let rewarded = |id: EpisodeId, reward| Box::new(Trajectory { reward: Some(reward), ..*finished(id) });
        let mut round = round();
        for (id, reward) in ids().into_iter().zip([1.0, 0.0, 1.0, 1.0, 0.5]) {
            round.complete(EPOCH, rewarded(id, reward));
        }
        assert_eq!((round.informative(2), round.informative(1)), (1, 1), "the third group has but one member");
        round.extend([id(0, 0), id(3, 0)]);
        assert_eq!(round.awaited().collect::<Vec<_>>(), [id(2, 1), id(3, 0)]);
    }

    #[test]
    fn episodes_that_are_remembered_are_not_awaited() {
        let mut round = round();
        let accepted = [id(0, 1), id(2, 0)].map(|id| (id, finished(id))).into();
        assert_eq!(round.remember(RecordedStep { accepted, ..RecordedStep::default() }), 2);
        assert_eq!(round.awaited().collect::<Vec<_>>(), [id(0, 0), id(1, 0), id(1, 1), id(2, 1)]);
        assert_eq!(round.complete(EPOCH, finished(id(0, 1))), Decision::Duplicate);
    }

    #[test]
    fn a_batch_that_was_consumed_is_made_again_exactly() {
        let mut round = round();
        let accepted = [id(0, 0), id(0, 1), id(1, 0), id(2, 0), id(2, 1)].map(|id| (id, finished(id))).into();
        let consumed = Some([id(0, 0), id(0, 1), id(2, 0), id(2, 1)].into());
        assert_eq!(round.remember(RecordedStep { accepted, consumed, committed: None }), 5);
        assert!(round.is_done(), "the one that is missing had failed");
        let harvest = round.harvest(2);
        assert_eq!(harvest.counts, EpisodeCounts { started: 6, completed: 5, failed: 1, duplicated: 0 });
        assert_eq!(harvest.groups.iter().map(|group| group.id.index).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn an_episode_of_a_consumed_batch_that_is_missing_is_rolled_out_again() {
        let mut round = round();
        let consumed = Some(ids().into_iter().collect());
        let accepted = ids().into_iter().skip(1).map(|id| (id, finished(id))).collect();
        assert_eq!(round.remember(RecordedStep { accepted, consumed, committed: None }), 5);
        assert_eq!(round.awaited().collect::<Vec<_>>(), [id(0, 0)]);
    }
}
