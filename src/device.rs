//! Where a policy is computed.

use std::sync::Arc;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use stateset_domain::{Engine, EngineError, Learner, LearnerError, Tokenizer};
use stateset_inference::EngineLimits;
use stateset_models::{ModelConfig, Pretrained};
use stateset_training::LearnerSettings;

/// Where a policy is asked to be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// On the CPU.
    #[default]
    Cpu,
    /// On the first NVIDIA GPU.
    Cuda,
    /// On the first NVIDIA GPU if it can be, else on the CPU.
    Auto,
}

/// Where it is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the CPU.
    Cpu,
    /// On the first NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Gpu,
}

/// It cannot be computed where it is asked to be.
#[derive(Debug, thiserror::Error)]
#[error("the device `cuda` cannot be used: {0}; `cpu` and `auto` can")]
pub(crate) struct NoDevice(String);

impl Device {
    /// Where that is, for a decoder of `config` that learns as `settings` say, or from a dataset. A notice is given where `auto` is the CPU.
    pub(crate) fn settle(
        self,
        config: &ModelConfig,
        settings: Option<&LearnerSettings>,
        offline: bool,
    ) -> Result<Place, NoDevice> {
        if self == Self::Cpu {
            return Ok(Place::Cpu);
        }
        let place = gpu(config, settings, offline);
        match (self, place) {
            (Self::Auto, Err(reason)) => {
                tracing::warn!("computing on the CPU: {reason}");
                Ok(Place::Cpu)
            }
            (_, place) => place.map_err(NoDevice),
        }
    }
}

#[cfg(not(feature = "cuda"))]
fn gpu(_: &ModelConfig, _: Option<&LearnerSettings>, _: bool) -> Result<Place, String> {
    Err("this program was built without the feature `cuda`".to_owned())
}

/// A GPU, if it is there and does what it would be asked for.
#[cfg(feature = "cuda")]
fn gpu(config: &ModelConfig, settings: Option<&LearnerSettings>, offline: bool) -> Result<Place, String> {
    let refused = stateset_models::gpu::refusal(config).map(|reason| format!("{reason} are only computed on the CPU"));
    let asked = settings.and_then(|it| it.only_on_the_cpu()).map(|what| format!("{what} only done on the CPU"));
    let given = offline.then(|| "learning from a dataset is only done on the CPU".to_owned());
    match refused.or(asked).or(given) {
        Some(reason) => Err(reason),
        None => stateset_kernels::cuda::Gpu::new(0).map(|_| Place::Gpu).map_err(|error| error.to_string()),
    }
}

impl Place {
    /// An engine there, which serves nothing until a snapshot is loaded.
    pub(crate) fn engine(
        self,
        config: &ModelConfig,
        tokenizer: Arc<dyn Tokenizer>,
        limits: EngineLimits,
    ) -> Result<Box<dyn Engine>, EngineError> {
        use stateset_inference::BatchEngine;

        Ok(match self {
            Self::Cpu => Box::new(BatchEngine::new(config, tokenizer, limits)),
            #[cfg(feature = "cuda")]
            Self::Gpu => {
                let gpu = stateset_kernels::cuda::Gpu::new(0);
                let gpu = gpu.map_err(|error| EngineError::Compute(error.to_string()))?;
                Box::new(BatchEngine::on(Arc::new(gpu), config, tokenizer, limits)?)
            }
        })
    }

    /// A learner there.
    pub(crate) fn learner(
        self,
        model: Pretrained,
        settings: LearnerSettings,
    ) -> Result<Box<dyn Learner>, LearnerError> {
        use stateset_training::PolicyLearner;

        Ok(match self {
            Self::Cpu => Box::new(PolicyLearner::new(model, settings)?),
            #[cfg(feature = "cuda")]
            Self::Gpu => {
                let failed = |error: &dyn std::fmt::Display| LearnerError::Compute(error.to_string());
                let gpu = stateset_kernels::cuda::Gpu::new(0).map_err(|error| failed(&error))?;
                let policy = stateset_training::GpuPolicy::new(&Arc::new(gpu), &model.weights);
                let policy = policy.map_err(|error| failed(&error))?;
                Box::new(PolicyLearner::on(Box::new(policy), model, settings)?)
            }
        })
    }
}
