//! A learner as files, and back.
//!
//! A policy whose weights are learnt is a whole model. One that is an adapter is the adapter, the name of the model that it was learnt on, and
//! the digest of that model's weights.

use serde::{Deserialize, Serialize};
use stateset_algorithms::Adapted;
use stateset_domain::{Artifact, LearnerError};
use stateset_models::{HostAdapter, ModelConfig, Pretrained, Storage, read_tensors, write_tensors};

use crate::PolicyLearner;
use crate::learner::{compute, state};
use crate::variables::write;

const OPTIMIZER: &str = "optimizer.safetensors";
const CRITIC: &str = "critic.safetensors";
const STATE: &str = "learner.json";

/// The learner's own line in a checkpoint.
#[derive(Serialize, Deserialize)]
struct State {
    step: u64,
    optimizer_updates: u64,
    #[serde(default)]
    critic_updates: u64,
    /// Digest of the weights that an adapter is learnt on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<String>,
    #[serde(flatten)]
    adapted: Adapted,
}

/// The digest of the weights that the adapter in a checkpoint was learnt on, if the checkpoint knows it.
///
/// # Errors
/// [`LearnerError::State`] if its state cannot be read.
pub fn adapted_base(files: &[Artifact]) -> Result<Option<String>, LearnerError> {
    let Some(file) = files.iter().find(|file| file.name == STATE) else { return Ok(None) };
    serde_json::from_slice(&file.bytes).map(|it: State| it.base).map_err(state)
}

impl PolicyLearner {
    /// Everything that [`restored`](Self::restored) needs, as files.
    pub(crate) fn saved(&self) -> Result<Vec<Artifact>, LearnerError> {
        let mut files = self.policy_files()?;
        let averages = self.device().map_or_else(|| Ok(self.optimizer.to_tensors()), |device| device.averages());
        let bytes = write_tensors(&averages.map_err(compute)?).map_err(state)?;
        files.push(Artifact { name: OPTIMIZER.into(), bytes });
        let Self { step, adapted, .. } = *self;
        let base = self.settings.adapter.as_ref().map(|_| self.base_digest().to_string());
        let mut own = State { step, optimizer_updates: self.updates(), critic_updates: 0, base, adapted };
        if let Some(critic) = &self.critic {
            let (bytes, updates) = critic.save()?;
            files.push(Artifact { name: CRITIC.into(), bytes });
            own.critic_updates = updates;
        }
        files.push(Artifact { name: STATE.into(), bytes: serde_json::to_vec_pretty(&own).map_err(state)? });
        Ok(files)
    }

    /// Goes back to what [`saved`](Self::saved) gave.
    pub(crate) fn restored(&mut self, artifacts: &[Artifact]) -> Result<(), LearnerError> {
        let file = |name: &str| {
            let found = artifacts.iter().find(|artifact| artifact.name == name);
            found.map(|artifact| artifact.bytes.as_slice()).ok_or_else(|| state(format!("{name} is missing")))
        };
        let saved: State = serde_json::from_slice(file(STATE)?).map_err(state)?;
        let averages = read_tensors(file(OPTIMIZER)?).map_err(state)?;
        let learnt = self.learnt_in(artifacts, saved.base.as_deref())?;
        let held = self.device().map(|mut device| device.restore(&learnt, &averages, saved.optimizer_updates));
        match held {
            Some(restored) => restored.map_err(compute)?,
            None => {
                write(&self.model.learnt(), &learnt).map_err(compute)?;
                self.optimizer.restore(&averages, saved.optimizer_updates)?;
            }
        }
        if let Some(critic) = &mut self.critic {
            critic.restore(file(CRITIC)?, saved.critic_updates)?;
        }
        self.forget();
        (self.step, self.adapted) = (saved.step, saved.adapted);
        Ok(())
    }

    /// What is known of the policy once the base is: all of it, or an adapter and the name of what it adapts.
    fn policy_files(&self) -> Result<Vec<Artifact>, LearnerError> {
        let Some((adapter, about)) = self.model.adapter().map_err(compute)?.zip(self.settings.adapter.as_ref()) else {
            let tensors = self.tensors().map_err(compute)?;
            return self.base.to_files(&tensors, Storage::default()).map_err(state);
        };
        let mut files = self.base.files.to_vec();
        files.extend(adapter.to_files(&about.base).map_err(state)?);
        Ok(files)
    }

    /// What such files have of each variable. An adapter was learnt on weights whose digest is `base`, if that is known.
    fn learnt_in(&self, files: &[Artifact], base: Option<&str>) -> Result<Vec<Vec<f32>>, LearnerError> {
        let known = &self.base.weights.config;
        let other = || state("config.json describes another model");
        if self.settings.adapter.is_none() {
            let model = Pretrained::from_files(files.to_vec()).map_err(state)?;
            let values = model.weights.values.iter().map(|it| it.to_f32().into_owned());
            return if model.weights.config == *known { Ok(values.collect()) } else { Err(other()) };
        }
        let config =
            files.iter().find(|file| file.name == "config.json").ok_or_else(|| state("config.json is missing"))?;
        let config = ModelConfig::from_json(&String::from_utf8_lossy(&config.bytes)).map_err(state)?;
        if config != *known {
            return Err(other());
        }
        if base.is_some_and(|base| base != self.base_digest()) {
            return Err(state("the model's weights are not those that the adapter was learnt on"));
        }
        let adapter = HostAdapter::from_files(known, files).map_err(state)?;
        Ok(adapter.factors.into_iter().flat_map(|it| [it.a, it.b]).collect())
    }

    fn base_digest(&self) -> &str {
        self.base_digest.get_or_init(|| self.base.weights.digest())
    }
}
