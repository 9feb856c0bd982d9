//! The decoder over whole sequences, with a walk back.

use std::sync::{Arc, Mutex, PoisonError};

use stateset_kernels::cuda::{Array, Device, DeviceError, Rope};

use super::backward::Walk;
use super::head::{Head, Part, gathered};
use super::tape::{Op, Pass, Values, Writer};
use super::{GpuError, GpuWeights, refusal};
use crate::trail::Trail;
use crate::{HostWeights, ModelConfig, PackedBatch, executor};

/// A decoder on a device that scores sequences, and learns.
pub struct GpuDecoder<D: Device> {
    device: Arc<D>,
    config: Arc<ModelConfig>,
    weights: GpuWeights<D>,
    ropes: Mutex<Tables<D>>,
}

/// Rotary tables, and for how many positions.
struct Tables<D: Device> {
    positions: usize,
    ropes: Arc<[Rope<D>]>,
}

/// What was found of a batch, and how it came about.
pub struct GpuRecording<D: Device> {
    pass: Pass<D>,
    trail: Trail<Op<D>, Values<D>>,
    states: Values<D>,
    targets: Vec<u32>,
    temperature: f32,
    parts: Vec<Part<D>>,
}

impl<D: Device> GpuDecoder<D> {
    /// A copy of `weights` on `device`.
    ///
    /// # Errors
    /// [`GpuError`] if the family is not run on a GPU, or there is not as much memory.
    pub fn new(device: Arc<D>, weights: &HostWeights) -> Result<Self, GpuError> {
        if let Some(reason) = refusal(&weights.config) {
            return Err(GpuError::Family(reason));
        }
        let held = GpuWeights::of(&*device, weights)?;
        let ropes = Mutex::new(Tables { positions: 0, ropes: Arc::new([]) });
        Ok(Self { device, config: Arc::new(weights.config.clone()), weights: held, ropes })
    }

    /// The weights.
    #[must_use]
    pub fn weights(&self) -> &GpuWeights<D> {
        &self.weights
    }

    /// The weights, to be changed.
    #[must_use]
    pub fn weights_mut(&mut self) -> &mut GpuWeights<D> {
        &mut self.weights
    }

    /// Log-probability and entropy of every scored token, nats, under the distribution at `temperature`.
    ///
    /// # Errors
    /// [`GpuError`] if the batch does not fit the model, or the device fails.
    pub fn log_probs(&self, batch: &PackedBatch, temperature: f32) -> Result<[Vec<f32>; 2], GpuError> {
        Ok(self.run(batch, temperature, false)?.found()?)
    }

    /// The same, for a walk back.
    ///
    /// # Errors
    /// [`GpuError`] if the batch does not fit the model, or the device fails.
    pub fn record(&self, batch: &PackedBatch, temperature: f32) -> Result<GpuRecording<D>, GpuError> {
        self.run(batch, temperature, true)
    }

    fn run(&self, batch: &PackedBatch, temperature: f32, keep: bool) -> Result<GpuRecording<D>, GpuError> {
        let (longest, context) = (batch.longest(), self.config.max_position_embeddings);
        if longest > context {
            return Err(GpuError::Batch(format!("sequence of {longest} tokens exceeds the context of {context}")));
        }
        let known = self.config.vocab_size as u32;
        if let Some(stray) = batch.tokens.iter().chain(&batch.targets).find(|token| **token >= known) {
            return Err(GpuError::Batch(format!("token {stray} exceeds the vocabulary of {known}")));
        }
        let pass = Pass::new(self.device.clone(), self.config.clone(), self.ropes(longest)?, batch)?;
        let mut writer = Writer { pass: &pass, weights: &self.weights, trail: Trail::new(keep) };
        let states = executor::states(&mut writer, &self.weights.places)?;
        let states = writer.finish(states);
        let trail = writer.trail;
        let parts = self.head(&states, &batch.targets, temperature).forward(&self.device, keep)?;
        let targets = batch.targets.clone();
        Ok(GpuRecording { pass, trail, states, targets, temperature, parts })
    }

    /// Adds to `sums`, one for each weight in their order, what gradients of log-probabilities and entropies come to.
    ///
    /// # Errors
    /// [`DeviceError`].
    ///
    /// # Panics
    /// If there are not as many gradients as scored tokens, or sums are not of the weights' sizes.
    pub fn backward(
        &self,
        recording: GpuRecording<D>,
        gradients: (&[f32], &[f32]),
        sums: &mut [Array<D, f32>],
    ) -> Result<(), DeviceError> {
        let GpuRecording { pass, trail, states, targets, temperature, parts } = recording;
        let at = *self.weights.places.head();
        let head = self.head(&states, &targets, temperature);
        let d_states = head.backward(&self.device, parts, gradients, &mut sums[at])?;
        Walk { pass: &pass, weights: &self.weights, trail, sums }.back(d_states)
    }

    fn head<'a>(&'a self, states: &'a Array<D, f32>, targets: &'a [u32], temperature: f32) -> Head<'a, D> {
        Head { states, weight: &self.weights.values[*self.weights.places.head()], targets, temperature }
    }

    /// Tables of at least so many positions. They grow with what is asked: contexts are often far longer than any sequence.
    fn ropes(&self, positions: usize) -> Result<Arc<[Rope<D>]>, DeviceError> {
        let mut held = self.ropes.lock().unwrap_or_else(PoisonError::into_inner);
        if held.positions < positions {
            let positions = positions.next_power_of_two();
            let ropes = self.config.ropes(positions);
            let own = ropes[..self.config.ropes.len()].iter().map(|rope| Rope::of(&*self.device, rope));
            *held = Tables { positions, ropes: own.collect::<Result<_, _>>()? };
        }
        Ok(held.ropes.clone())
    }
}

impl<D: Device> GpuRecording<D> {
    /// Log-probability and entropy of every scored token, nats.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn found(&self) -> Result<[Vec<f32>; 2], DeviceError> {
        gathered(&*self.pass.device, &self.parts)
    }
}
