//! The record of one episode: exactly what was sampled, and nothing reconstructed afterwards.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{EpisodeId, FailureKind, Message, PolicyVersion, Role};

/// How an episode ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The environment brought it to its end.
    Completed {
        /// Every executed check passed.
        success: bool,
    },
    /// It could not be finished; it has no reward.
    Failed(FailureKind),
}

/// Where one turn stands in the flat token sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnSpan {
    /// Who spoke.
    pub role: Role,
    /// Its tokens, template tokens included.
    pub tokens: Range<usize>,
    /// For an assistant turn, how many were sampled (they stand at the start of the span's sampled part).
    pub sampled: Range<usize>,
}

/// One of several rewards that an episode's reward is the weighted sum of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RewardTerm {
    /// What it counts.
    pub weight: f32,
    /// What it is.
    pub value: f32,
}

/// One episode as flat, aligned arrays of one entry per token, segment after segment.
///
/// A segment only grows: what is sampled in it follows all the tokens before it. Mostly there is one. Where a template writes earlier turns
/// anew, the conversation [forks](Self::fork): another segment begins with all of it as it is written now, of which nothing counts as
/// sampled. So each token that was sampled stands exactly once, after the very tokens that it was sampled after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trajectory {
    /// Which episode this is.
    pub episode: EpisodeId,
    /// The scenario it answers.
    pub scenario: String,
    /// The conversation as text.
    pub messages: Vec<Message>,
    /// Token ids, in order.
    pub tokens: Vec<u32>,
    /// Where each segment but the first begins.
    #[serde(default)]
    pub forks: Vec<usize>,
    /// Log-probability (nats) of each sampled token under the distribution it was sampled from; 0 elsewhere.
    pub log_probs: Vec<f32>,
    /// The policy version that sampled each token; 0 where nothing was sampled.
    pub versions: Vec<PolicyVersion>,
    /// True on sampled tokens only.
    pub mask: Vec<bool>,
    /// Where each turn stands.
    pub spans: Vec<TurnSpan>,
    /// The environment's reward for each assistant turn, in order.
    pub turn_rewards: Vec<f32>,
    /// The episode's reward, once judged.
    pub reward: Option<f32>,
    /// What it is the weighted sum of; empty if it is not made of several.
    #[serde(default)]
    pub reward_terms: Vec<RewardTerm>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Trajectory {
    /// An empty record of `episode`.
    pub fn new(episode: EpisodeId, scenario: impl Into<String>) -> Self {
        Self {
            episode,
            scenario: scenario.into(),
            messages: Vec::new(),
            tokens: Vec::new(),
            forks: Vec::new(),
            log_probs: Vec::new(),
            versions: Vec::new(),
            mask: Vec::new(),
            spans: Vec::new(),
            turn_rewards: Vec::new(),
            reward: None,
            reward_terms: Vec::new(),
            outcome: Outcome::Failed(FailureKind::Abandoned),
        }
    }

    /// Ends the segment. What is appended from now on continues nothing that was.
    pub fn fork(&mut self) {
        self.forks.push(self.tokens.len());
    }

    /// The tokens of the newest segment: what the next reply continues.
    #[must_use]
    pub fn newest(&self) -> &[u32] {
        &self.tokens[self.forks.last().copied().unwrap_or(0)..]
    }

    /// Appends tokens that were given, not sampled.
    pub fn push_context(&mut self, role: Role, tokens: &[u32]) {
        let start = self.tokens.len();
        self.extend(tokens, None);
        let end = self.tokens.len();
        self.spans.push(TurnSpan { role, tokens: start..end, sampled: end..end });
    }

    /// Appends an assistant turn: the `prompt` tokens that open it, then what was sampled, then the `close` tokens that end it
    /// (empty when the policy sampled its own end).
    ///
    /// # Panics
    /// If `sampled` and `log_probs` differ in length.
    pub fn push_sampled(
        &mut self,
        prompt: &[u32],
        sampled: &[u32],
        log_probs: &[f32],
        version: PolicyVersion,
        close: &[u32],
    ) {
        assert_eq!(sampled.len(), log_probs.len(), "every sampled token has its log-prob");
        let start = self.tokens.len();
        self.extend(prompt, None);
        let from = self.tokens.len();
        self.extend(sampled, Some((log_probs, version)));
        let to = self.tokens.len();
        self.extend(close, None);
        self.spans.push(TurnSpan { role: Role::Assistant, tokens: start..self.tokens.len(), sampled: from..to });
    }

    fn extend(&mut self, tokens: &[u32], sampled: Option<(&[f32], PolicyVersion)>) {
        self.tokens.extend_from_slice(tokens);
        let length = self.tokens.len();
        match sampled {
            Some((log_probs, version)) => {
                self.log_probs.extend_from_slice(log_probs);
                self.versions.resize(length, version);
                self.mask.resize(length, true);
            }
            None => {
                self.log_probs.resize(length, 0.0);
                self.versions.resize(length, PolicyVersion(0));
                self.mask.resize(length, false);
            }
        }
    }

    /// How many tokens were sampled, in all segments.
    #[must_use]
    pub fn sampled_tokens(&self) -> usize {
        self.mask.iter().filter(|sampled| **sampled).count()
    }

    /// Whether a reply was cut off before the policy had ended it. One that a stop text ended looks the same: the policy did not end that
    /// either.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.spans.iter().any(|span| span.role == Role::Assistant && span.sampled.end < span.tokens.end)
    }

    /// Whether the episode ended with every check passed.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        matches!(self.outcome, Outcome::Completed { success: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GroupId, Purpose};

    #[test]
    fn a_reply_that_had_to_be_closed_was_truncated() {
        let group = GroupId { purpose: Purpose::Train, step: 1, index: 0 };
        let mut trajectory = Trajectory::new(EpisodeId { group, member: 0 }, "s");
        trajectory.push_context(Role::User, &[1, 5, 4]);
        trajectory.push_sampled(&[2], &[6, 4], &[-1.0; 2], PolicyVersion(0), &[]);
        assert!(!trajectory.is_truncated());
        trajectory.push_sampled(&[2], &[6, 7], &[-1.0; 2], PolicyVersion(0), &[4]);
        assert!(trajectory.is_truncated());
    }

    #[test]
    fn a_fork_leaves_what_was_sampled_where_it_was_and_continues_none_of_it() {
        let group = GroupId { purpose: Purpose::Train, step: 1, index: 0 };
        let mut trajectory = Trajectory::new(EpisodeId { group, member: 0 }, "s");
        trajectory.push_context(Role::User, &[1, 5]);
        trajectory.push_sampled(&[2], &[7, 6], &[-1.0; 2], PolicyVersion(3), &[4]);
        assert_eq!(trajectory.newest(), [1, 5, 2, 7, 6, 4]);
        trajectory.fork();
        trajectory.push_context(Role::User, &[1, 5, 2, 6, 4, 1, 5]);
        trajectory.push_sampled(&[2], &[8], &[-2.0], PolicyVersion(4), &[]);
        assert_eq!(trajectory.newest(), [1, 5, 2, 6, 4, 1, 5, 2, 8]);
        let sampled = (0..trajectory.tokens.len()).filter(|at| trajectory.mask[*at]);
        let found = sampled.map(|at| (trajectory.tokens[at], trajectory.versions[at].0));
        assert!(found.eq([(7, 3), (6, 3), (8, 4)]));
        assert_eq!((trajectory.forks, trajectory.spans[3].sampled.clone()), (vec![6], 14..15));
    }
}
