//! Entries as they are written.
//!
//! The domain's types are made for JSON, where a field may be left out and a tag may stand beside its content. A format that does not
//! describe itself reads neither back, so whatever uses such freedom is mirrored here, field by field: the compiler refuses a mirror
//! that no longer fits. What is measured in a step is kept as the line of JSON that it is elsewhere.

use serde::{Deserialize, Serialize};
use stateset_domain::{
    Digest, Entry, EpisodeId, FailureKind, Message, Outcome, PolicyVersion, Record, RewardTerm, Trajectory, TurnSpan,
};

/// What a segment is made of.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "there is one opening for thousands of entries")]
pub(crate) enum Item {
    /// The first of every segment.
    Opened(Opened),
    /// An entry of the journal.
    Entry(#[serde(with = "EntryDef")] Entry),
}

/// How a segment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opened {
    /// Its place in the journal, from 1.
    pub(crate) sequence: u64,
    /// Which writer it belongs to.
    pub(crate) epoch: u64,
    /// How many bytes of the segment before it count. What its writer adds afterwards does not.
    pub(crate) sealed: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Entry")]
struct EntryDef {
    timeline: u64,
    #[serde(with = "RecordDef")]
    record: Record,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Record")]
#[expect(clippy::large_enum_variant, reason = "as large as what it mirrors")]
enum RecordDef {
    EpisodeAccepted(#[serde(with = "boxed")] Box<Trajectory>),
    EpisodeFailed {
        episode: EpisodeId,
        attempts: u32,
        #[serde(with = "FailureDef")]
        failure: FailureKind,
    },
    BatchConsumed {
        step: u64,
        episodes: Vec<EpisodeId>,
    },
    StepCommitted {
        policy_digest: Digest,
        #[serde(with = "as_json")]
        metrics: stateset_domain::StepMetrics,
    },
    DirectiveApplied {
        step: u64,
        format: u32,
        directive: String,
    },
    RunRestored {
        step: u64,
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Trajectory")]
struct TrajectoryDef {
    episode: EpisodeId,
    scenario: String,
    messages: Vec<Message>,
    tokens: Vec<u32>,
    forks: Vec<usize>,
    log_probs: Vec<f32>,
    versions: Vec<PolicyVersion>,
    mask: Vec<bool>,
    spans: Vec<TurnSpan>,
    turn_rewards: Vec<f32>,
    reward: Option<f32>,
    reward_terms: Vec<RewardTerm>,
    #[serde(with = "OutcomeDef")]
    outcome: Outcome,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Outcome")]
enum OutcomeDef {
    Completed { success: bool },
    Failed(#[serde(with = "FailureDef")] FailureKind),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "FailureKind")]
enum FailureDef {
    Inference(String),
    Environment(String),
    Judge(String),
    Deadline(String),
    Abandoned,
    ContextFull { tokens: usize, limit: usize },
}

mod boxed {
    use serde::{Deserializer, Serializer};
    use stateset_domain::Trajectory;

    use super::TrajectoryDef;

    pub(super) fn serialize<S: Serializer>(trajectory: &Trajectory, serializer: S) -> Result<S::Ok, S::Error> {
        TrajectoryDef::serialize(trajectory, serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<Trajectory>, D::Error> {
        TrajectoryDef::deserialize(deserializer).map(Box::new)
    }
}

mod as_json {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use stateset_domain::StepMetrics;

    pub(super) fn serialize<S: Serializer>(metrics: &StepMetrics, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::to_string(metrics).map_err(S::Error::custom)?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StepMetrics, D::Error> {
        serde_json::from_str(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use stateset_domain::{GroupId, PolicySnapshot, Purpose, Role, StepMetrics, StepReport};

    use super::*;
    use crate::codec::{self, Frame};

    fn id() -> EpisodeId {
        EpisodeId { group: GroupId { purpose: Purpose::Train, step: 300, index: 2 }, member: 7 }
    }

    fn failures() -> Vec<FailureKind> {
        let text = || "“why”".to_owned();
        vec![
            FailureKind::Inference(text()),
            FailureKind::Environment(text()),
            FailureKind::Judge(String::new()),
            FailureKind::Deadline(text()),
            FailureKind::Abandoned,
            FailureKind::ContextFull { tokens: 9, limit: 8 },
        ]
    }

    fn trajectory(outcome: Outcome) -> Record {
        let mut trajectory = Trajectory::new(id(), "hard/17");
        trajectory.messages.push(Message::new(Role::User, "where is K7Q2M?"));
        trajectory.messages.push(Message::new(Role::Assistant, "lookup_order {\"id\":\"K7Q2M\"}"));
        trajectory.messages.push(Message::new(Role::Tool, "{\"status\": null}"));
        trajectory.push_context(Role::User, &[0, 250, 251, 70_000]);
        trajectory.push_sampled(&[3], &[40, 2], &[-0.25, f32::MIN_POSITIVE], PolicyVersion(299), &[1]);
        trajectory.fork();
        trajectory.push_context(Role::Tool, &[0, 1]);
        trajectory.turn_rewards = vec![0.5, -0.0];
        trajectory.reward = Some(f32::from_bits(0x3eaa_aaab));
        trajectory.reward_terms = vec![RewardTerm { weight: 0.5, value: -0.0 }];
        trajectory.outcome = outcome;
        Record::EpisodeAccepted(Box::new(trajectory))
    }

    fn metrics() -> StepMetrics {
        StepMetrics {
            step: 300,
            policy_version: PolicyVersion(300),
            reward_mean: 0.1 + 0.2,
            reward_std: 1e-300,
            success_rate: 1.0,
            episodes_failed: 0,
            rollout_tokens: u64::MAX,
            rollout_seconds: 1.5,
            train_seconds: 0.0,
            learner: StepReport { loss: -0.125, grad_norm: 3.0, skipped: true, ..StepReport::default() },
        }
    }

    fn round_trip(record: Record) -> Record {
        let (timeline, mut bytes) = (4, Vec::new());
        codec::write(&Item::Entry(Entry { timeline, record }), &mut bytes).unwrap();
        match codec::read(&bytes) {
            Frame::Whole(Item::Entry(Entry { timeline: 4, record }), length) if length == bytes.len() => record,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_kind_of_record_comes_back_as_it_was_written() {
        let mut records: Vec<Record> = failures().into_iter().map(Outcome::Failed).map(trajectory).collect();
        records.extend([false, true].map(|success| trajectory(Outcome::Completed { success })));
        let failed = |failure| Record::EpisodeFailed { episode: id(), attempts: 3, failure };
        records.extend(failures().into_iter().map(failed));
        for purpose in [Purpose::Train, Purpose::EvaluateSampled, Purpose::EvaluateGreedy] {
            let episode = EpisodeId { group: GroupId { purpose, ..id().group }, ..id() };
            records.push(Record::BatchConsumed { step: 300, episodes: vec![episode, id()] });
        }
        let policy_digest = PolicySnapshot::digest_of(&[]);
        records.push(Record::StepCommitted { policy_digest, metrics: metrics() });
        let directive = "{\"scale_lr\": 0.5}".to_owned();
        records.push(Record::DirectiveApplied { step: 9, format: 1, directive });
        records.push(Record::RunRestored { step: 6, reason: "a spike".into() });
        for record in records {
            assert_eq!(round_trip(record.clone()), record);
        }
    }

    #[test]
    fn numbers_come_back_to_the_bit_and_what_is_no_number_as_not_a_number() {
        let learner = StepReport { loss: f64::NAN, kl: f64::INFINITY, ..StepReport::default() };
        let policy_digest = PolicySnapshot::digest_of(&[]);
        let written = Record::StepCommitted { policy_digest, metrics: StepMetrics { learner, ..metrics() } };
        let Record::StepCommitted { metrics: read, .. } = round_trip(written) else { panic!("another kind") };
        assert!(read.learner.loss.is_nan() && read.learner.kl.is_nan());
        assert_eq!(read.reward_mean.to_bits(), (0.1_f64 + 0.2).to_bits());
        let Record::EpisodeAccepted(read) = round_trip(trajectory(Outcome::Completed { success: true })) else {
            panic!("another kind")
        };
        assert_eq!(read.turn_rewards[1].to_bits(), (-0.0_f32).to_bits());
    }
}
