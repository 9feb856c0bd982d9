//! Fast arithmetic on slices, each kernel beside its definition.
//!
//! [`reference`](mod@reference) is what an operation means, in f64 and plain loops; [`cpu`] is how it is computed, in f32, on all cores. Property tests hold
//! one to the other, and `cuda` too, kernels for GPUs, which the feature of that name adds. Every kernel is bitwise reproducible for any number of threads: work is cut into chunks whose size does not
//! depend on who computes them, and sums are taken in a fixed order.

pub mod cpu;
#[cfg(any(feature = "cuda", feature = "shim"))]
pub mod cuda;
mod gating;
pub mod reference;
mod scoring;
mod segment;

pub use gating::Gating;
pub use scoring::Scoring;
pub use segment::Segment;
