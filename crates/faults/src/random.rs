//! Plans drawn at random: the same seed draws the same one.

use stateset_domain::Stream;

use crate::{Fault, Kind, Plan, Site};

/// The rhythm of a run, which says how often a site is visited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// Optimizer steps of the whole run.
    pub steps: u64,
    /// Steps between two checkpoints, at least 1.
    pub save_every: u64,
}

/// What a run has, and a fault therefore can hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// There are tools to be called.
    pub tools: bool,
    /// Somebody starts the process again when it is killed.
    pub watched: bool,
}

/// How often each fault is drawn, beside the others. Rare is what only the watchdog ends: a silent thread, and lost news of an
/// episode's end.
const MIX: [(Kind, Site, u64); 57] = [
    (Kind::Panic, Site::Learner, 2),
    (Kind::Panic, Site::Environment, 4),
    (Kind::Panic, Site::Conversation, 6),
    (Kind::Panic, Site::Inference, 3),
    (Kind::Panic, Site::Judge, 4),
    (Kind::Panic, Site::Checkpointer, 1),
    (Kind::Panic, Site::HealthMonitor, 1),
    (Kind::Panic, Site::Engine, 3),
    (Kind::Panic, Site::Optimizer, 2),
    (Kind::Panic, Site::Store, 1),
    (Kind::Error, Site::Learner, 2),
    (Kind::Error, Site::Environment, 3),
    (Kind::Error, Site::Conversation, 3),
    (Kind::Error, Site::Inference, 3),
    (Kind::Error, Site::Judge, 3),
    (Kind::Error, Site::Checkpointer, 1),
    (Kind::Error, Site::HealthMonitor, 1),
    (Kind::Error, Site::Engine, 2),
    (Kind::Error, Site::Optimizer, 1),
    (Kind::Error, Site::Reward, 4),
    (Kind::Error, Site::Tools, 3),
    (Kind::Slow, Site::Learner, 2),
    (Kind::Slow, Site::Environment, 3),
    (Kind::Slow, Site::Conversation, 3),
    (Kind::Slow, Site::Inference, 3),
    (Kind::Slow, Site::Judge, 3),
    (Kind::Slow, Site::Checkpointer, 1),
    (Kind::Slow, Site::Engine, 3),
    (Kind::Slow, Site::Optimizer, 1),
    (Kind::Slow, Site::Store, 1),
    (Kind::Hang, Site::Environment, 1),
    (Kind::Hang, Site::Conversation, 1),
    (Kind::Hang, Site::Inference, 1),
    (Kind::Hang, Site::Judge, 1),
    (Kind::Hang, Site::Engine, 1),
    (Kind::Hang, Site::Optimizer, 1),
    (Kind::Drop, Site::ToLearner, 1),
    (Kind::Drop, Site::ToEnvironment, 4),
    (Kind::Drop, Site::ToInference, 4),
    (Kind::Drop, Site::ToJudge, 4),
    (Kind::Drop, Site::ToCheckpointer, 1),
    (Kind::Drop, Site::ToHealthMonitor, 1),
    (Kind::Duplicate, Site::ToLearner, 4),
    (Kind::Duplicate, Site::ToInference, 3),
    (Kind::Duplicate, Site::ToCheckpointer, 1),
    (Kind::Duplicate, Site::ToHealthMonitor, 1),
    (Kind::Reorder, Site::ToLearner, 4),
    (Kind::Reorder, Site::ToEnvironment, 4),
    (Kind::Reorder, Site::ToInference, 4),
    (Kind::Reorder, Site::ToJudge, 4),
    (Kind::NanGradient, Site::Optimizer, 1),
    (Kind::JudgeOutage, Site::Reward, 1),
    (Kind::ToolGarbage, Site::Tools, 3),
    (Kind::DiskFull, Site::Store, 2),
    (Kind::TornWrite, Site::Store, 1),
    (Kind::ClockJump, Site::Clock, 2),
    (Kind::Kill, Site::Process, 2),
];

/// `count` faults for a run of this `rhythm`.
///
/// A site that is visited once a step, or once a checkpoint, gets at most one fault for each of its visits, and none close to the end,
/// so that every fault finds a visit; when it has no visit left, another site gets the fault.
#[must_use]
pub fn random(seed: u64, count: usize, rhythm: Rhythm, setting: Setting) -> Plan {
    let mut stream = Stream::new(seed).fork(u64::from_le_bytes(*b"faults\0\0"));
    let possible = |(kind, site, _): &&(Kind, Site, u64)| {
        (setting.tools || *site != Site::Tools) && (setting.watched || *kind != Kind::Kill)
    };
    let mut mix: Vec<_> = MIX.iter().filter(possible).copied().collect();
    let mut sparse: Vec<(Site, Vec<u64>)> =
        Site::ALL.iter().filter_map(|site| Some((*site, rhythm.visits(*site)?))).collect();
    let mut faults = Vec::with_capacity(count);
    while faults.len() < count {
        let at = draw(&mix, &mut stream);
        let (kind, site, _) = mix[at];
        match sparse.iter_mut().find(|(sparse, _)| *sparse == site) {
            Some((_, left)) if left.is_empty() => drop(mix.remove(at)),
            Some((_, left)) => {
                let step = left.swap_remove(stream.below(left.len()));
                faults.push(Fault::new(step, 1, site, kind));
            }
            None => {
                let step = stream.below(rhythm.last_step()) as u64;
                faults.push(Fault::new(step, 1 + stream.below(MOMENTS) as u64, site, kind));
            }
        }
    }
    faults.sort_unstable();
    Plan(faults)
}

/// How late within a step a fault may be due, in visits.
const MOMENTS: usize = 64;

fn draw(mix: &[(Kind, Site, u64)], stream: &mut Stream) -> usize {
    let total: u64 = mix.iter().map(|(_, _, weight)| weight).sum();
    let mut left = stream.below(total as usize) as u64;
    for (at, (_, _, weight)) in mix.iter().enumerate() {
        if left < *weight {
            return at;
        }
        left -= weight;
    }
    unreachable!("what is drawn is below the sum of the weights")
}

impl Rhythm {
    /// Steps before which a fault may be due at a site that is visited many times a step.
    fn last_step(self) -> usize {
        usize::try_from(self.steps.saturating_sub(1).max(1)).unwrap_or(usize::MAX)
    }

    /// The steps whose visits of a sparsely visited site can be hit; `None` if it is visited many times a step.
    fn visits(self, site: Site) -> Option<Vec<u64>> {
        let last = self.steps.saturating_sub(1 + self.steps / 10);
        match site {
            Site::Optimizer => Some((0..last.max(1)).collect()),
            Site::HealthMonitor | Site::ToHealthMonitor => Some((1..=last).collect()),
            Site::Checkpointer | Site::Store | Site::ToCheckpointer => {
                Some((1..=last).filter(|step| step.is_multiple_of(self.save_every.max(1))).collect())
            }
            Site::Learner
            | Site::Environment
            | Site::Conversation
            | Site::Inference
            | Site::Judge
            | Site::Engine
            | Site::Reward
            | Site::Tools
            | Site::ToLearner
            | Site::ToEnvironment
            | Site::ToInference
            | Site::ToJudge
            | Site::Clock
            | Site::Process => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const RHYTHM: Rhythm = Rhythm { steps: 80, save_every: 1 };
    const EVERYTHING: Setting = Setting { tools: true, watched: true };

    #[test]
    fn the_same_seed_draws_the_same_plan() {
        let plan = |seed| random(seed, 500, RHYTHM, EVERYTHING);
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
        assert_eq!(plan(3).0.len(), 500);
    }

    #[test]
    fn every_fault_makes_sense_where_it_is_and_finds_a_visit() {
        for (seed, steps, save_every) in [(1, 80, 1), (2, 6, 2), (3, 2, 1), (4, 1, 1)] {
            let rhythm = Rhythm { steps, save_every };
            let plan = random(seed, 300, rhythm, EVERYTHING);
            let mut taken = BTreeSet::new();
            for fault in plan.0 {
                assert!(fault.kind.sites().contains(&fault.site), "{fault:?}");
                assert!(fault.step < steps.max(1), "{fault:?}");
                let sparse = rhythm.visits(fault.site).is_some();
                assert!(!sparse || taken.insert((fault.site, fault.step)), "two faults for one visit: {fault:?}");
            }
        }
    }

    #[test]
    fn what_a_run_does_not_have_is_not_hit() {
        let plan = random(1, 500, RHYTHM, Setting { tools: false, watched: false });
        assert!(plan.0.iter().all(|fault| fault.site != Site::Tools && fault.kind != Kind::Kill));
    }

    #[test]
    fn five_hundred_faults_are_of_every_kind() {
        let kinds: BTreeSet<Kind> = random(1, 500, RHYTHM, EVERYTHING).0.iter().map(|fault| fault.kind).collect();
        assert_eq!(kinds.len(), Kind::ALL.len(), "{kinds:?}");
    }
}
