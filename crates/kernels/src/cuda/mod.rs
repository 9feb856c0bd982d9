//! Kernels for NVIDIA GPUs.
//!
//! A kernel is text in `cu/`, one file for each family, without a header: NVRTC compiles it at run time for the device that is there,
//! and behind the feature `shim` a C++ compiler turns the same text into something that runs on the CPU, with fibers for threads.
//! What is written here is the host's side, over a [`Device`] that is one or the other: which arrays a kernel takes, how many blocks,
//! which scratch. So where there is no GPU, tests still hold both halves to [`reference`](crate::reference), and the same tests run on
//! a GPU where there is one.
//!
//! | Operation | Arrays | Passes over memory |
//! |---|---|---|
//! | [`log_prob`], [`log_prob_backward`], [`log_prob_backward_in_place`] | logits f32 or bf16 | one, and one |
//! | [`group_advantages`], [`gae`] | f32 | one |
//! | [`clipped_objective`] | f32, sums f64 | one |
//! | [`sum_of_squares`], [`adamw`] | f32, sums f64 | one each |
//! | [`rms_norm`], [`rms_norm_backward`] | f32 or bf16, weights f32 | one, the second look finds a row in cache |
//! | [`gate`], [`gate_backward`], [`rope`] | f32 or bf16 | one |
//! | [`head_norm`], [`head_norm_backward`] | f32 | two |
//! | [`linear`], [`linear_by_rows`], [`linear_input_gradient`], [`linear_weight_gradient_add`] | f32, rounded to TF32 by tensor cores | cuBLAS |
//! | [`gather_rows`], [`scatter_rows`], [`add`], [`add_bias`], [`add_columns`] | f32 | one |
//! | [`sample`] | logits f32 | a few, most of them from cache |
//! | [`attention`], [`attention_backward`] | f32 or bf16 | one over keys for every 64 queries; two, and one over queries for every 64 keys |
//! | [`decode_attention`] | f32 or bf16 | one over the cached tokens |
//!
//! All arithmetic is f32 or wider; bf16 is how numbers are kept. Sums have a fixed order, so equal inputs give equal bits.

mod adamw;
mod advantage;
mod arguments;
mod array;
mod attention;
#[cfg(feature = "cuda")]
mod compile;
mod decode;
mod device;
mod entries;
mod gate;
#[cfg(feature = "cuda")]
mod gpu;
mod head_norm;
mod log_prob;
mod norm;
mod objective;
#[cfg(feature = "cuda")]
mod probe;
mod product;
mod rope;
mod rows;
mod sample;
mod segments;
#[cfg(feature = "shim")]
mod shim;
mod source;

pub use adamw::{Clip, Moments, adamw, sum_of_squares};
pub use advantage::{gae, group_advantages};
pub use arguments::Arguments;
pub use array::{Array, Element, Real};
pub use attention::{Heads, attention, attention_backward};
#[cfg(feature = "cuda")]
pub use compile::{Compiled, compile};
pub use decode::{CacheRow, KvCache, copy_slot, decode_attention};
pub use device::{Device, DeviceError, Grid};
pub use gate::{gate, gate_backward};
#[cfg(feature = "cuda")]
pub use gpu::Gpu;
pub use head_norm::{Span, head_norm, head_norm_backward};
pub use log_prob::{LogProb, log_prob, log_prob_backward, log_prob_backward_in_place};
pub use norm::{rms_norm, rms_norm_backward};
pub use objective::{Clipping, Sums, Tokens, clipped_objective};
#[cfg(feature = "cuda")]
pub use probe::{Found, Missing, Report, probe};
pub use product::{Product, ROWS_AT_A_TIME, linear, linear_by_rows, linear_input_gradient, linear_weight_gradient_add};
pub use rope::{Rope, rope};
pub use rows::{Scatter, add, add_bias, add_columns, gather_rows, scatter_rows};
pub use sample::{Choice, sample};
pub use segments::Segments;
#[cfg(feature = "shim")]
pub use shim::Shim;
pub use source::{UNITS, Unit};
