//! A policy on a device of its own.

use std::any::Any;
use std::sync::Arc;

use candle_core::Result;
use stateset_domain::NamedTensor;
use stateset_models::PackedBatch;

use crate::OptimizerSettings;

/// Log-probabilities and entropies of scored tokens, nats.
pub type Scores = [Vec<f32>; 2];

/// What a learner asks of a device that holds a policy's weights, where it began, its gradient, and the optimizer's averages. Everything that
/// is decided about them is decided by the learner. Every call fails if the device does.
#[allow(clippy::missing_errors_doc)]
pub trait DevicePolicy: Send {
    /// Scores `batch` under the distribution at `temperature`; what a later [`pull`](Self::pull) needs is kept if it is to be `recorded`.
    fn score(&mut self, batch: &PackedBatch, temperature: f32, recorded: bool) -> Result<Scores>;

    /// Scores `batch` with the weights that the policy began with.
    fn score_by_reference(&mut self, batch: &PackedBatch, temperature: f32) -> Result<Scores>;

    /// Adds to the gradient what the gradients of log-probabilities and entropies of the batch that was recorded last come to.
    fn pull(&mut self, log_probs: &[f32], entropies: &[f32]) -> Result<()>;

    /// Makes the gradient zero.
    fn clear(&mut self) -> Result<()>;

    /// Makes one of the gradient's numbers none.
    fn spoil(&mut self) -> Result<()>;

    /// L2 norm of the gradient; not finite if any of it is not.
    fn norm(&mut self) -> Result<f64>;

    /// Moves the weights by one update at learning rate `lr`, clipped by the [`norm`](Self::norm) found last.
    fn update(&mut self, with: &OptimizerSettings, lr: f64) -> Result<()>;

    /// Updates made so far.
    fn updates(&self) -> u64;

    /// Remembers weights and averages, to be [taken back](Self::take_back) to.
    fn remember(&mut self) -> Result<()>;

    /// Goes back to what was remembered, if anything was since the last time.
    fn take_back(&mut self) -> Result<()>;

    /// Lets go of what was remembered.
    fn forget(&mut self);

    /// A copy of the weights where they are, for an engine there. It is whole once [`tensors`](Self::tensors) were read after it.
    fn resident(&self) -> Result<Arc<dyn Any + Send + Sync>>;

    /// The weights under their Hugging Face names.
    fn tensors(&self) -> Result<Vec<NamedTensor>>;

    /// The averages, in the form of [`Optimizer::to_tensors`](crate::Optimizer::to_tensors).
    fn averages(&self) -> Result<Vec<NamedTensor>>;

    /// Takes over weights, in the order of the decoder's, and averages after so many `updates`.
    fn restore(&mut self, weights: &[Vec<f32>], averages: &[NamedTensor], updates: u64) -> Result<()>;
}
