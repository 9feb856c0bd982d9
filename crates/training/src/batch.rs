//! From groups of trajectories to packed micro-batches.

use std::ops::Range;

use stateset_algorithms::Turn;
use stateset_domain::{Group, LearnerError, PolicyVersion, Role, Trajectory, is_flat};

/// One trajectory as the optimizer sees it; the log-probability arrays have one entry per scored token.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The group it is a member of, by its place in the batch: the members of one may begin alike.
    pub group: usize,
    /// Token ids, segment after segment.
    pub tokens: Vec<u32>,
    /// Where each segment but the first begins. They go through the model one by one; everything else takes their scored tokens for those
    /// of one sequence.
    pub forks: Vec<usize>,
    /// Which of them were sampled and are scored.
    pub scored: Vec<bool>,
    /// The sampler's log-probabilities of the scored tokens, nats; NaN where nobody sampled them.
    pub sampler: Vec<f64>,
    /// How many versions older than the learner the policy was that sampled each of them.
    pub ages: Vec<u64>,
    /// The episode's reward.
    pub reward: f64,
    /// What that is the weighted sum of, weights first: itself, if it is not made of several.
    pub terms: Vec<(f64, f64)>,
    /// Its assistant turns.
    pub turns: Vec<Turn>,
    /// Credit of each scored token.
    pub advantages: Vec<f64>,
    /// What the critic should have said at each scored token; empty without a critic.
    pub returns: Vec<f64>,
    /// At which of them it learns.
    pub learned: Vec<bool>,
    /// Their log-probabilities under the reference, nats, if those are known beforehand.
    pub reference: Option<Vec<f64>>,
}

impl Example {
    fn new(trajectory: &Trajectory, group: usize, advantage: f64, now: PolicyVersion) -> Result<Self, LearnerError> {
        let Trajectory { episode, tokens, forks, mask, log_probs, versions, .. } = trajectory;
        if [mask.len(), log_probs.len(), versions.len()] != [tokens.len(); 3] {
            return Err(LearnerError::Batch(format!(
                "{episode}: tokens, mask, log-probs and versions differ in length"
            )));
        }
        let mut begun = 0;
        for fork in forks {
            if !(begun + 1..tokens.len()).contains(fork) {
                let tokens = tokens.len();
                return Err(LearnerError::Batch(format!(
                    "{episode}: after {begun}, a segment begins at {fork} of {tokens} tokens"
                )));
            }
            begun = *fork;
        }
        if let Some(at) = forks.iter().copied().chain([0]).find(|at| mask.get(*at) == Some(&true)) {
            return Err(LearnerError::Batch(format!("{episode}: nothing precedes the token {at} that was sampled")));
        }
        let sampled = |t: &usize| mask[*t];
        let scored = || (0..tokens.len()).filter(sampled);
        let sampler: Vec<f64> = scored().map(|t| f64::from(log_probs[t])).collect();
        Ok(Self {
            group,
            tokens: trajectory.tokens.clone(),
            forks: forks.clone(),
            scored: trajectory.mask.clone(),
            reward: trajectory.reward.map_or(0.0, f64::from),
            terms: terms(trajectory),
            turns: turns(trajectory, sampler.len())?,
            advantages: vec![advantage; sampler.len()],
            returns: Vec::new(),
            learned: Vec::new(),
            reference: None,
            ages: scored().map(|t| now.0.saturating_sub(versions[t].0)).collect(),
            sampler,
        })
    }

    /// The tokens of each segment, and which of them are scored.
    pub(crate) fn segments(&self) -> impl Iterator<Item = (&[u32], &[bool])> {
        let ends = self.forks.iter().copied().chain([self.tokens.len()]);
        let mut begun = 0;
        ends.map(move |end| {
            let segment = std::mem::replace(&mut begun, end)..end;
            (&self.tokens[segment.clone()], &self.scored[segment])
        })
    }

    /// Leaves nothing of it to be learned from.
    fn mask(&mut self) {
        self.scored.fill(false);
        self.sampler.clear();
        self.ages.clear();
        self.advantages.clear();
    }

    /// How many tokens are scored.
    #[must_use]
    pub fn scored_tokens(&self) -> usize {
        self.sampler.len()
    }
}

fn terms(trajectory: &Trajectory) -> Vec<(f64, f64)> {
    let Trajectory { reward, reward_terms, .. } = trajectory;
    match reward_terms.is_empty() {
        true => reward.iter().map(|reward| (1.0, f64::from(*reward))).collect(),
        false => reward_terms.iter().map(|term| (f64::from(term.weight), f64::from(term.value))).collect(),
    }
}

/// The assistant's turns, in which every one of the `scored` tokens was sampled.
fn turns(trajectory: &Trajectory, scored: usize) -> Result<Vec<Turn>, LearnerError> {
    let spans = trajectory.spans.iter().filter(|span| span.role == Role::Assistant);
    let rewards = trajectory.turn_rewards.iter().copied().map(f64::from).chain(std::iter::repeat(0.0));
    let mut at = 0;
    let turns = spans.zip(rewards).map(|(span, reward)| {
        let tokens = at..at + span.sampled.len();
        at = tokens.end;
        Turn { tokens, reward }
    });
    let turns = turns.collect();
    if at != scored {
        let episode = trajectory.episode;
        return Err(LearnerError::Batch(format!("{episode}: {scored} tokens were sampled, but its turns have {at}")));
    }
    Ok(turns)
}

/// What an optimizer step is made from.
pub(crate) struct Batch {
    pub(crate) examples: Vec<Example>,
    /// How many examples each group has, one group after the other.
    pub(crate) sizes: Vec<usize>,
    pub(crate) frac_zero_std_groups: f64,
}

impl Batch {
    /// Every episode; what it is worth is yet to be said.
    pub(crate) fn of_episodes(groups: &[Group], now: PolicyVersion) -> Result<Self, LearnerError> {
        for group in groups {
            rewards(group)?;
        }
        let members = groups.iter().enumerate().flat_map(|(at, group)| group.members.iter().map(move |it| (at, it)));
        let examples = members.map(|(at, member)| Example::new(member, at, 0.0, now)).collect::<Result<_, _>>()?;
        let sizes = groups.iter().map(|group| group.members.len()).collect();
        Ok(Self { examples, sizes, frac_zero_std_groups: frac_flat(groups) })
    }

    /// Whether all episodes were rewarded for the same things, so that each can be measured by itself.
    pub(crate) fn check_terms(&self) -> Result<(), LearnerError> {
        let weights = |example: &Example| example.terms.iter().map(|(weight, _)| *weight).collect::<Vec<f64>>();
        let mut all = self.examples.iter().map(weights);
        let first = all.next();
        match all.find(|other| Some(other) != first.as_ref()) {
            Some(other) => Err(LearnerError::Batch(format!(
                "rewards cannot be measured apart: some episodes have those that weigh {:?}, others {other:?}",
                first.unwrap_or_default()
            ))),
            None => Ok(()),
        }
    }

    /// The same, but nothing is learned from `groups`' episodes of which a reply was cut off.
    pub(crate) fn without_truncated(mut self, groups: &[Group]) -> Self {
        let members = groups.iter().flat_map(|group| &group.members);
        let cut = self.examples.iter_mut().zip(members).filter(|(_, member)| member.is_truncated());
        cut.for_each(|(example, _)| example.mask());
        self
    }

    /// Of each group the first of the best episodes and the first of the worst, one after the other. A pair of which neither is better
    /// has no credit.
    pub(crate) fn of_pairs(groups: &[Group], now: PolicyVersion) -> Result<Self, LearnerError> {
        let (mut examples, mut sizes) = (Vec::new(), Vec::new());
        for (at, group) in groups.iter().enumerate() {
            let rewards = rewards(group)?;
            let first = |wanted: f64| rewards.iter().position(|reward| *reward == wanted).unwrap_or(0);
            let chosen = first(rewards.iter().copied().fold(f64::NEG_INFINITY, f64::max));
            let rejected = first(rewards.iter().copied().fold(f64::INFINITY, f64::min));
            let (rejected, credit) = if chosen == rejected { (chosen + 1, 0.0) } else { (rejected, 1.0) };
            let Some(rejected) = group.members.get(rejected) else { continue };
            let pair = [(&group.members[chosen], credit), (rejected, -credit)];
            if pair.iter().all(|(member, _)| member.sampled_tokens() > 0) {
                sizes.push(pair.len());
                for (member, credit) in pair {
                    examples.push(Example::new(member, at, credit, now)?);
                }
            }
        }
        Ok(Self { examples, sizes, frac_zero_std_groups: frac_flat(groups) })
    }
}

/// A group's rewards, if every member has one.
fn rewards(group: &Group) -> Result<Vec<f64>, LearnerError> {
    let rewards = group.rewards();
    if rewards.len() != group.members.len() {
        return Err(LearnerError::Batch(format!("group {:?} holds an episode without a reward", group.id)));
    }
    if let Some(at) = rewards.iter().position(|reward| !reward.is_finite()) {
        let episode = group.members[at].episode;
        return Err(LearnerError::Batch(format!("{episode}: its reward is {}", rewards[at])));
    }
    Ok(rewards)
}

/// The share of groups whose rewards are all equal.
fn frac_flat(groups: &[Group]) -> f64 {
    groups.iter().filter(|group| is_flat(&group.rewards())).count() as f64 / groups.len().max(1) as f64
}

/// Cuts sequences, in order, into runs of at most `budget` tokens (or one sequence, if that alone is longer).
#[must_use]
pub fn micro_batches(lengths: &[usize], budget: usize) -> Vec<Range<usize>> {
    let (mut runs, mut start, mut held) = (Vec::new(), 0, 0);
    for (i, length) in lengths.iter().enumerate() {
        if i > start && held + length > budget {
            runs.push(start..i);
            (start, held) = (i, 0);
        }
        held += length;
    }
    if start < lengths.len() {
        runs.push(start..lengths.len());
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micro_batches_respect_the_budget_and_lose_nothing() {
        assert_eq!(micro_batches(&[3, 3, 3], 6), [0..2, 2..3]);
        assert_eq!(micro_batches(&[9, 1, 1], 4), [0..1, 1..3]);
        assert_eq!(micro_batches(&[], 4), [0..0; 0]);
    }
}
