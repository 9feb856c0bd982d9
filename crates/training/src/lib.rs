//! One optimizer step: collate, log-probs, objective, backward, update; and the checkpoint format.
//!
//! Sequences are packed, never padded; what the members of a group begin with is computed once; and only sampled positions reach the head. The objective is evaluated on plain numbers
//! ([`stateset_algorithms`]) and its slopes are back-propagated through the log-probabilities, so a new algorithm needs no new graph.

mod adapt;
mod batch;
mod checkpoints;
mod credit;
mod critic;
mod dataset;
mod descent;
mod device;
mod distributions;
mod families;
mod first;
#[cfg(any(feature = "cuda", feature = "shim"))]
mod gpu;
mod gradients;
mod learner;
mod memory;
mod objective;
mod offline;
mod optimizer;
mod pass;
mod pull;
mod saved;
mod supervised;
mod trust_region;
mod variables;

pub use batch::{Example, micro_batches};
pub use checkpoints::CheckpointFolder;
pub use dataset::{Dataset, Demonstration, Endless, Items, PreferencePair};
pub use device::{DevicePolicy, Scores};
#[cfg(any(feature = "cuda", feature = "shim"))]
pub use gpu::GpuPolicy;
pub use gradients::Gradients;
pub use learner::{Adaptation, LearnerSettings, PolicyLearner};
pub use memory::{Demand, MemoryPlan, NothingFits, Part, Serving};
pub use objective::Objective;
pub use optimizer::{Optimizer, OptimizerKind, OptimizerSettings};
pub use saved::adapted_base;
pub use stateset_models::Variable;
pub use supervised::{Supervised, SupervisedReport, SupervisedSettings};
