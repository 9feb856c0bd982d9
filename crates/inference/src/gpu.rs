//! An engine that computes on a GPU.

use std::any::Any;
use std::fmt::Display;
use std::sync::Arc;

use stateset_domain::{EngineError, NamedTensor};
use stateset_kernels::cpu::Row;
use stateset_kernels::cuda::Device;
use stateset_models::gpu::{GpuDecode, GpuError, GpuWeights};
use stateset_models::{Choice, Draw, ModelConfig};

use crate::Runner;

/// Computes on `D`.
pub struct Gpu<D: Device> {
    device: Arc<D>,
    config: ModelConfig,
    decode: GpuDecode<D>,
    served: Option<Arc<GpuWeights<D>>>,
}

fn failed(error: impl Display) -> EngineError {
    EngineError::Compute(error.to_string())
}

impl<D: Device> Gpu<D> {
    pub(crate) fn new(
        device: Arc<D>,
        config: &ModelConfig,
        slots: usize,
        positions: usize,
    ) -> Result<Self, EngineError> {
        let decode = GpuDecode::new(device.clone(), config, slots, positions).map_err(failed)?;
        Ok(Self { device, config: config.clone(), decode, served: None })
    }
}

impl<D: Device + 'static> Runner for Gpu<D> {
    fn load(&mut self, tensors: &[NamedTensor]) -> Result<(), EngineError> {
        // What is served gives way first, so that there need not be room for both.
        self.served = None;
        let weights = GpuWeights::from_tensors(&*self.device, &self.config, tensors);
        self.served = Some(Arc::new(weights.map_err(|error| match error {
            GpuError::Weights(error) => EngineError::Snapshot(error.to_string()),
            other => failed(other),
        })?));
        Ok(())
    }

    fn adopt(&mut self, resident: &Arc<dyn Any + Send + Sync>) -> bool {
        let Ok(weights) = resident.clone().downcast() else { return false };
        self.served = Some(weights);
        true
    }

    fn copy(&mut self, from: usize, to: usize, tokens: usize) -> Result<(), EngineError> {
        self.decode.copy(from, to, tokens).map_err(failed)
    }

    fn step(&mut self, tokens: &[u32], rows: &[Row], draws: &[Draw<'_>]) -> Result<Vec<Choice>, EngineError> {
        let Some(weights) = &self.served else { return Err(EngineError::Compute("no weights are loaded".into())) };
        self.decode.step(weights, tokens, rows, draws).map_err(failed)
    }
}
