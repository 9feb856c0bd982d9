//! What an engine computes with.

use std::any::Any;
use std::sync::Arc;

use rayon::prelude::*;
use stateset_domain::{EngineError, NamedTensor};
use stateset_kernels::cpu::Row;
use stateset_models::{Choice, Decode, Draw, HostAdapter, LoraConfig, ModelConfig, Sampler, ServedWeights};

/// Holds a policy's weights and the cached keys and values of many conversations, and feeds them.
pub trait Runner: Send {
    /// Takes over a policy's tensors.
    ///
    /// # Errors
    /// [`EngineError::Snapshot`] if they are not the decoder's.
    fn load(&mut self, tensors: &[NamedTensor]) -> Result<(), EngineError>;

    /// Takes over a policy as it is where it is computed, if that is here.
    fn adopt(&mut self, _resident: &Arc<dyn Any + Send + Sync>) -> bool {
        false
    }

    /// Lets slot `to` hold the first `tokens` tokens that slot `from` holds.
    ///
    /// # Errors
    /// [`EngineError::Compute`].
    fn copy(&mut self, from: usize, to: usize, tokens: usize) -> Result<(), EngineError>;

    /// What `draws` choose to follow `tokens`, which stand at `rows`.
    ///
    /// # Errors
    /// [`EngineError::Compute`].
    fn step(&mut self, tokens: &[u32], rows: &[Row], draws: &[Draw<'_>]) -> Result<Vec<Choice>, EngineError>;
}

/// Computes on the CPU.
pub struct Cpu {
    config: ModelConfig,
    decode: Decode,
    /// What versions are adapters of, if they are no whole weights.
    base: Option<(ServedWeights, LoraConfig)>,
    served: Option<ServedWeights>,
}

impl Cpu {
    pub(crate) fn new(config: &ModelConfig, slots: usize, positions: usize) -> Self {
        Self { config: config.clone(), decode: Decode::new(config, slots, positions), base: None, served: None }
    }

    pub(crate) fn adapting(self, base: ServedWeights, lora: LoraConfig) -> Self {
        Self { base: Some((base, lora)), ..self }
    }

    pub(crate) fn serving(self, weights: ServedWeights) -> Self {
        Self { served: Some(weights), ..self }
    }
}

impl Runner for Cpu {
    fn load(&mut self, tensors: &[NamedTensor]) -> Result<(), EngineError> {
        let weights = match &self.base {
            None => ServedWeights::new(&self.config, tensors).map_err(|error| error.to_string()),
            Some((base, lora)) => HostAdapter::from_tensors(&self.config, lora.clone(), tensors)
                .map(|adapter| base.adapted(&adapter))
                .map_err(|error| error.to_string()),
        };
        self.served = Some(weights.map_err(EngineError::Snapshot)?);
        Ok(())
    }

    fn copy(&mut self, from: usize, to: usize, tokens: usize) -> Result<(), EngineError> {
        self.decode.copy(from, to, tokens);
        Ok(())
    }

    fn step(&mut self, tokens: &[u32], rows: &[Row], draws: &[Draw<'_>]) -> Result<Vec<Choice>, EngineError> {
        let Some(weights) = &self.served else { return Err(EngineError::Compute("no weights are loaded".into())) };
        let selected: Vec<usize> = draws.iter().map(|draw| draw.row).collect();
        let mut logits = self.decode.step(weights, tokens, rows, &selected);
        let rows = logits.par_chunks_mut(self.config.vocab_size).zip(draws).with_min_len(8);
        let choose = |sampler: &mut Sampler, (row, draw): (&mut [f32], &Draw<'_>)| {
            sampler.choose(row, draw.sampling, draw.stream.uniform_at(draw.position))
        };
        Ok(rows.map_init(Sampler::default, choose).collect())
    }
}
