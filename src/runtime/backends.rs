//! Who samples and who learns.

use std::sync::Arc;

use anyhow::Result;
use stateset_actors::{EngineFactory, LearnerFactory};
use stateset_chat::ChatFormat;
use stateset_domain::{Engine, EngineError, Learner, LearnerError, Tokenizer};
use stateset_inference::{BatchEngine, EngineLimits};
use stateset_models::{Pretrained, ServedWeights};
use stateset_training::{Dataset, MemoryPlan, PolicyLearner};

use super::settings::learner_settings;
use super::world::Domain;
use crate::config::{Config, Problems};
use crate::memory::within_budget;
use crate::{data, format, model};

/// Tokens that the engine is fed in one step.
pub(crate) const STEP_TOKENS: usize = 1024;

/// A policy of one's own: who samples, who learns, and how text becomes tokens for both.
#[derive(Clone)]
pub struct Backends {
    /// Conversations to tokens, and tokens to replies.
    pub format: ChatFormat,
    /// Builds the engine, on its own thread, again after every failure.
    pub engine: EngineFactory,
    /// Builds the learner, likewise.
    pub learner: LearnerFactory,
}

impl Backends {
    /// Those of a run that is given none: the engine and the learner of `model`, as `config` has them. It learns from `dataset` in place of
    /// episodes, if there is one.
    ///
    /// # Errors
    /// If the model's chat template cannot be used.
    pub fn of(config: &Config, model: Pretrained, dataset: Option<Dataset>) -> Result<Self> {
        let format = format::of(&model)?;
        let tokenizer: Arc<dyn Tokenizer> = Arc::new(model.tokenizer.clone());
        let settings = learner_settings(config);
        let place = config.run.device.settle(&model.weights.config, Some(&settings), dataset.is_some())?;
        let engine = {
            let (shape, tokenizer) = (model.weights.config.clone(), tokenizer.clone());
            let limits = EngineLimits {
                slots: config.supervision.max_live_episodes,
                positions: config.agent.max_context,
                step_tokens: STEP_TOKENS,
            };
            // What an adapter is learnt on is laid out once, whoever serves it.
            let base = config.training.lora.as_ref().map(|it| (ServedWeights::of(&model.weights), it.adapter()));
            let build = move || -> Result<Box<dyn Engine>, EngineError> {
                match base.clone() {
                    Some((base, lora)) => {
                        Ok(Box::new(BatchEngine::new(&shape, tokenizer.clone(), limits).adapting(base, lora)))
                    }
                    None => place.engine(&shape, tokenizer.clone(), limits),
                }
            };
            Arc::new(build)
        };
        let learner = move || -> Result<Box<dyn Learner>, LearnerError> {
            let (model, settings) = (model.clone(), settings.clone());
            match dataset.clone() {
                Some(dataset) => Ok(Box::new(PolicyLearner::offline(model, settings, dataset)?)),
                None => place.learner(model, settings),
            }
        };
        Ok(Self { format, engine, learner: Arc::new(learner) })
    }
}

/// Backends as a configuration has them, and what is to be known of them.
pub(super) struct Prepared {
    pub(super) backends: Backends,
    /// The digest of the file that is learned from in place of episodes, if there is one.
    pub(super) data: Option<String>,
    /// What a step takes, if there is a budget.
    pub(super) memory: Option<MemoryPlan>,
}

impl Prepared {
    /// One's own, of which nothing is known.
    pub(super) fn own(backends: Backends) -> Self {
        Self { backends, data: None, memory: None }
    }

    /// Those of `model`, or else of the model that `config` names.
    pub(super) fn of(config: &Config, model: Option<Pretrained>, domain: Option<&Domain>) -> Result<Self> {
        let model = model.map_or_else(|| model::load(&config.agent.model), Ok)?;
        let ladder = || domain.map(|domain| domain.ladder.clone());
        let given = data::given(config, &format::of(&model)?, ladder).map_err(Problems::unwritten)?;
        // The run is known by what its file says, not by what that comes to.
        let (settled, memory) = within_budget(config, &model.weights)?.unzip();
        let (dataset, data) = given.map(|given| (given.dataset, given.digest)).unzip();
        let backends = Backends::of(settled.as_ref().unwrap_or(config), model, dataset)?;
        Ok(Self { backends, data: data.flatten(), memory })
    }
}
