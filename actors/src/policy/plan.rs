//! What a run does next: a function of how far it has come, and of nothing that a crash could lose.

use std::ops::Range;

use stateset_domain::{EpisodeId, GroupId, Purpose, Sampling, Split};

/// What a run is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Seed of every random stream.
    pub seed: u64,
    /// Optimizer steps to take.
    pub steps: u64,
    /// Groups a step (`P`); 0 if the learner learns from something else.
    pub groups_per_step: u32,
    /// Episodes a group (`G`).
    pub group_size: u32,
    /// How often, at the most, groups whose rewards are all equal are made up for by further ones before a step; 0 never.
    pub max_resamples: u32,
    /// Steps between two checkpoints; 0 saves at the end only.
    pub save_every: u64,
    /// Steps between two evaluations; 0 evaluates the base and the final policy only.
    pub eval_every: u64,
    /// Episodes an evaluation; 0 never evaluates.
    pub eval_episodes: u32,
    /// How training episodes, and sampled evaluations, are sampled.
    pub sampling: Sampling,
    /// How many versions older than the learner a token may be when it is learned from. 0: a round is rolled out by the very policy that
    /// learns from it. Above 0 that many further rounds are rolled out meanwhile.
    pub max_staleness: u64,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Evaluate the policy as it stands.
    Evaluate(Purpose),
    /// Roll out a round and take a step.
    Train,
    /// Nothing is left to do.
    Finish,
}

/// Where an episode's scenario comes from, and how it is sampled.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Which half of the kit.
    pub split: Split,
    /// Which scenario of it.
    pub index: u64,
    /// How replies are sampled.
    pub sampling: Sampling,
}

impl Plan {
    /// What to do after `step` optimizer steps, given which evaluations of that step are already made.
    pub fn next(&self, step: u64, evaluated: impl Fn(Purpose) -> bool) -> Task {
        let due = self.evaluates_at(step);
        match Purpose::EVALUATIONS.into_iter().find(|purpose| due && !evaluated(*purpose)) {
            Some(purpose) => Task::Evaluate(purpose),
            None if step < self.steps => Task::Train,
            None => Task::Finish,
        }
    }

    /// Whether the state after `step` is worth a checkpoint.
    #[must_use]
    pub fn saves_at(&self, step: u64) -> bool {
        step >= self.steps || is_multiple(step, self.save_every)
    }

    /// The step of the last round that may be rolled out once `step` optimizer steps are taken and their weights are served. A round for
    /// step `k` is learned from by version `k - 1`, so its oldest token may be of version `k - 1 - max_staleness`.
    #[must_use]
    pub fn horizon(&self, step: u64) -> u64 {
        (step + 1).saturating_add(self.max_staleness).min(self.steps)
    }

    fn evaluates_at(&self, step: u64) -> bool {
        self.eval_episodes > 0 && (step == 0 || step >= self.steps || is_multiple(step, self.eval_every))
    }

    /// The episodes of `task`, begun after `step` optimizer steps. A training group carries the number of the step it is for, from
    /// 1; an evaluated episode is a group of its own, and carries the number of steps its policy has taken.
    #[must_use]
    pub fn episodes(&self, task: Task, step: u64) -> Vec<EpisodeId> {
        let (purpose, step, groups, size) = match task {
            Task::Train => (Purpose::Train, step + 1, self.groups_per_step, self.group_size),
            Task::Evaluate(purpose) => (purpose, step, self.eval_episodes, 1),
            Task::Finish => return Vec::new(),
        };
        members(purpose, step, 0..groups, size)
    }

    /// Where `episode` takes place. Training walks through the kit, `P` scenarios a step; evaluations use its first scenarios.
    #[must_use]
    pub fn place(&self, episode: EpisodeId) -> Place {
        let GroupId { purpose, step, index } = episode.group;
        let index = u64::from(index);
        match purpose {
            Purpose::Train => {
                Place { split: Split::Train, index: self.scenario(step, index), sampling: self.sampling.clone() }
            }
            Purpose::EvaluateSampled => Place { split: Split::HeldOut, index, sampling: self.sampling.clone() },
            Purpose::EvaluateGreedy => Place { split: Split::HeldOut, index, sampling: self.sampling.greedy() },
        }
    }
}

/// The episodes of some groups of a round, in order.
pub(super) fn members(purpose: Purpose, step: u64, groups: Range<u32>, size: u32) -> Vec<EpisodeId> {
    let group = |index| GroupId { purpose, step, index };
    groups.flat_map(|index| (0..size).map(move |member| EpisodeId { group: group(index), member })).collect()
}

fn is_multiple(step: u64, every: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let sampling = Sampling::default();
        Plan {
            seed: 1,
            steps: 5,
            groups_per_step: 3,
            group_size: 2,
            max_resamples: 0,
            save_every: 2,
            eval_every: 0,
            eval_episodes: 4,
            sampling,
            max_staleness: 0,
        }
    }

    #[test]
    fn base_and_final_policy_are_evaluated_sampled_and_greedy_once() {
        let plan = plan();
        assert_eq!(plan.next(0, |_| false), Task::Evaluate(Purpose::EvaluateSampled));
        assert_eq!(plan.next(0, |p| p == Purpose::EvaluateSampled), Task::Evaluate(Purpose::EvaluateGreedy));
        assert_eq!(plan.next(0, |_| true), Task::Train);
        assert_eq!(plan.next(3, |_| false), Task::Train);
        assert_eq!(plan.next(5, |_| false), Task::Evaluate(Purpose::EvaluateSampled));
        assert_eq!(plan.next(5, |_| true), Task::Finish);
    }

    #[test]
    fn a_plan_without_steps_evaluates_whatever_was_restored() {
        let plan = Plan { steps: 0, ..plan() };
        assert_eq!(plan.next(30, |_| false), Task::Evaluate(Purpose::EvaluateSampled));
        assert_eq!(plan.next(30, |_| true), Task::Finish);
    }

    #[test]
    fn without_groups_a_training_round_has_no_episodes_and_an_evaluation_its_own() {
        let plan = Plan { groups_per_step: 0, ..plan() };
        assert_eq!(plan.episodes(Task::Train, 0), []);
        assert_eq!(plan.episodes(Task::Evaluate(Purpose::EvaluateGreedy), 0).len(), 4);
    }

    #[test]
    fn no_round_begins_before_its_oldest_token_would_be_fresh_enough() {
        let horizon = |max_staleness, step| Plan { max_staleness, ..plan() }.horizon(step);
        assert_eq!([0, 1, 4].map(|step| horizon(0, step)), [1, 2, 5]);
        assert_eq!([0, 1, 4].map(|step| horizon(2, step)), [3, 4, 5], "there are no more than 5 steps");
        for (max_staleness, step) in [(0, 0), (1, 2), (3, 1)] {
            let (learns, samples) = (horizon(max_staleness, step) - 1, step);
            assert!(learns - samples <= max_staleness);
        }
    }

    #[test]
    fn checkpoints_fall_on_the_cadence_and_at_the_end() {
        let saved = |plan: &Plan| (1..=5).filter(|step| plan.saves_at(*step)).collect::<Vec<_>>();
        assert_eq!(saved(&plan()), [2, 4, 5]);
        assert_eq!(saved(&Plan { save_every: 0, ..plan() }), [5]);
    }

    #[test]
    fn training_never_sees_a_scenario_twice_and_evaluation_always_sees_the_same() {
        let plan = plan();
        let places = |task, step| plan.episodes(task, step).into_iter().map(|id| plan.place(id)).collect::<Vec<_>>();
        let index = |places: Vec<Place>| places.into_iter().map(|place| place.index).collect::<Vec<_>>();
        assert_eq!(index(places(Task::Train, 0)), [0, 0, 1, 1, 2, 2]);
        assert_eq!(index(places(Task::Train, 1)), [3, 3, 4, 4, 5, 5]);
        let greedy = Task::Evaluate(Purpose::EvaluateGreedy);
        assert_eq!(index(places(greedy, 0)), index(places(greedy, 5)));
        assert!(places(greedy, 5).iter().all(|p| p.split == Split::HeldOut && p.sampling.temperature == 0.0));
    }
}
