//! Groups in place of those from which nothing can be learned: dynamic sampling (DAPO, arXiv:2503.14476 §3.2).
//!
//! Where episodes are compared with one another, a group whose rewards are all equal takes its place in a batch for nothing. With
//! `max_resamples` such groups are made up for, before the step, by as many further ones of other scenarios; they may be flat too, and are
//! made up for in turn. What is left in the end is what is learned from; if that is nothing, the step is taken on what there is.
//!
//! Which further groups a round gets follows from the rewards of the groups before them, all of which are known by then, and from nothing
//! else: not from the order in which they came, nor from how often the run was begun again.

use stateset_domain::{EpisodeId, Group, Purpose, is_flat};

use super::Plan;
use super::plan::members;

impl Plan {
    /// The episodes of `missing` further groups of training step `step`, from 1, which has had so many `groups` before.
    #[must_use]
    pub fn further(&self, step: u64, groups: u32, missing: u32) -> Vec<EpisodeId> {
        members(Purpose::Train, step, groups..groups + missing, self.group_size)
    }

    /// The scenario of a training group: `P` a step, and those of further groups beyond all of these.
    pub(super) fn scenario(&self, step: u64, index: u64) -> u64 {
        let (planned, before) = (u64::from(self.groups_per_step), step - 1);
        match index.checked_sub(planned) {
            None => before * planned + index,
            Some(further) => self.steps * planned + before * planned * u64::from(self.max_resamples) + further,
        }
    }
}

/// The groups that something can be learned from, or all of them if there are none; and the share of the others.
#[must_use]
pub fn informative(groups: Vec<Group>) -> (Vec<Group>, f64) {
    let all = groups.len().max(1) as f64;
    let (flat, chosen): (Vec<Group>, Vec<Group>) = groups.into_iter().partition(|group| is_flat(&group.rewards()));
    let share = flat.len() as f64 / all;
    (if chosen.is_empty() { flat } else { chosen }, share)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use stateset_domain::{GroupId, Sampling, Trajectory};

    use super::*;

    fn plan() -> Plan {
        Plan {
            seed: 1,
            steps: 4,
            groups_per_step: 3,
            group_size: 2,
            max_resamples: 2,
            save_every: 0,
            eval_every: 0,
            eval_episodes: 0,
            sampling: Sampling::default(),
            max_staleness: 0,
        }
    }

    fn group(index: u32, rewards: [f32; 2]) -> Group {
        let id = GroupId { purpose: Purpose::Train, step: 1, index };
        let member = |(member, reward)| Trajectory {
            reward: Some(reward),
            ..Trajectory::new(EpisodeId { group: id, member }, "s")
        };
        Group { id, members: (0..).zip(rewards).map(member).collect() }
    }

    #[test]
    fn no_further_group_plays_a_scenario_that_another_group_plays() {
        let plan = plan();
        let mut seen = BTreeSet::new();
        for step in 1..=4 {
            // Three groups, and twice three in their place.
            for index in 0..9 {
                assert!(seen.insert(plan.scenario(step, index)), "group {index} of step {step}");
            }
        }
        let further = plan.further(2, 5, 2);
        let indices: Vec<(u32, u32)> = further.iter().map(|id| (id.group.index, id.member)).collect();
        assert_eq!(indices, [(5, 0), (5, 1), (6, 0), (6, 1)]);
    }

    #[test]
    fn what_is_learned_from_differs_within_itself_unless_nothing_does() {
        let (flat, good) = (group(0, [1.0, 1.0]), group(1, [0.0, 1.0]));
        let found = informative(vec![flat.clone(), good.clone(), group(2, [0.0, 0.0]), group(3, [0.5, 0.0])]);
        assert_eq!((found.0.len(), found.0[0].id.index, found.1), (2, 1, 0.5));
        assert_eq!(informative(vec![flat.clone()]), (vec![flat], 1.0));
        assert_eq!(informative(Vec::new()), (Vec::new(), 0.0));
    }
}
