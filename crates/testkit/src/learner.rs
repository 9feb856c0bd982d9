//! A learner that adds up.

use std::sync::Arc;

use stateset_domain::{
    Adjustments, Artifact, Group, Learner, LearnerError, NamedTensor, PolicySnapshot, PolicyVersion, StepReport, Stream,
};

/// Hears of the groups of a step before it is taken.
pub type Listener = Arc<dyn Fn(&[Group]) + Send + Sync>;

/// Its "weights" are four numbers to which every step adds a hash of exactly what it was trained on, in order: tokens, log-probs,
/// versions and rewards, times the scale of the learning rate; without episodes, of the step's number.
/// Two runs whose digests agree were trained on the same batches.
#[derive(Clone, Default)]
pub struct CountingLearner {
    listener: Option<Listener>,
    weights: [f32; 4],
    before: [f32; 4],
    adjustments: Adjustments,
    step: u64,
}

impl CountingLearner {
    /// The weights of the base policy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with somebody who listens.
    #[must_use]
    pub fn overheard(listener: Listener) -> Self {
        Self { listener: Some(listener), ..Self::default() }
    }
}

impl Learner for CountingLearner {
    fn step(&mut self, groups: &[Group]) -> Result<StepReport, LearnerError> {
        if let Some(listener) = &self.listener {
            listener(groups);
        }
        let mut hash = Stream::new(self.step);
        for episode in groups.iter().flat_map(|group| &group.members) {
            let reward =
                episode.reward.ok_or_else(|| LearnerError::Batch(format!("{} has no reward", episode.episode)))?;
            let numbers = episode.tokens.iter().map(|id| u64::from(*id));
            let numbers = numbers.chain(episode.log_probs.iter().map(|p| u64::from(p.to_bits())));
            let numbers = numbers.chain(episode.versions.iter().map(|version| version.0));
            hash = numbers.chain([u64::from(reward.to_bits())]).fold(hash, |hash, number| hash.fork(number));
        }
        let lr = self.adjustments.lr_scale;
        self.before = self.weights;
        self.weights.iter_mut().for_each(|weight| *weight += (lr * hash.uniform()) as f32);
        self.step += 1;
        let train_tokens =
            groups.iter().flat_map(|group| &group.members).map(|episode| episode.tokens.len() as u64).sum();
        Ok(StepReport {
            loss: -hash.uniform(),
            entropy: 1.0,
            grad_norm: 1.0,
            lr,
            train_tokens,
            ..StepReport::default()
        })
    }

    fn undo(&mut self) -> Result<(), LearnerError> {
        self.weights = self.before;
        Ok(())
    }

    fn adjust(&mut self, adjustments: &Adjustments) {
        self.adjustments = *adjustments;
    }

    fn snapshot(&self) -> Result<PolicySnapshot, LearnerError> {
        let data: Arc<[f32]> = self.weights.as_slice().into();
        let tensor = NamedTensor { name: "count".into(), shape: vec![data.len()], data };
        Ok(PolicySnapshot::new(PolicyVersion(self.step), vec![tensor]))
    }

    fn save(&self) -> Result<Vec<Artifact>, LearnerError> {
        let weights = self.weights.iter().flat_map(|weight| weight.to_le_bytes());
        Ok(vec![Artifact {
            name: "count.bin".into(),
            bytes: self.step.to_le_bytes().into_iter().chain(weights).collect(),
        }])
    }

    fn restore(&mut self, artifacts: &[Artifact]) -> Result<(), LearnerError> {
        let unusable = || LearnerError::State("count.bin is not 24 bytes".into());
        let bytes =
            artifacts.iter().find(|artifact| artifact.name == "count.bin").map(|artifact| artifact.bytes.as_slice());
        let (step, weights) = bytes.and_then(|bytes| bytes.split_first_chunk::<8>()).ok_or_else(unusable)?;
        let (weights, rest) = weights.as_chunks::<4>();
        let weights: Vec<f32> = weights.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        self.weights = weights.try_into().ok().filter(|_| rest.is_empty()).ok_or_else(unusable)?;
        self.before = self.weights;
        self.step = u64::from_le_bytes(*step);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use stateset_domain::{EpisodeId, GroupId, Purpose, Trajectory};

    use super::*;

    fn batch(reward: f32) -> [Group; 1] {
        let id = GroupId { purpose: Purpose::Train, step: 1, index: 0 };
        let episode = Trajectory::new(EpisodeId { group: id, member: 0 }, "scenario");
        [Group { id, members: vec![Trajectory { reward: Some(reward), ..episode }] }]
    }

    #[test]
    fn its_weights_tell_batches_apart_and_survive_saving() {
        let mut learner = CountingLearner::new();
        let base = learner.snapshot().unwrap().digest();
        learner.step(&batch(1.0)).unwrap();
        let mut restored = CountingLearner::new();
        restored.restore(&learner.save().unwrap()).unwrap();
        let digest = |learner: &CountingLearner| learner.snapshot().unwrap().digest();
        assert_eq!(digest(&restored), digest(&learner));
        learner.step(&batch(1.0)).unwrap();
        restored.step(&batch(0.5)).unwrap();
        assert_ne!(digest(&restored), digest(&learner));
        assert_ne!(digest(&learner), base);
        assert!(restored.restore(&[]).is_err());
    }
}
