//! One decoder, its weights, its tokenizer.
//!
//! The architecture is written once, as a [`Decoder`] and its [`logits`], over a small [`Executor`] trait. [`Autograd`] runs it on
//! candle tensors with gradients, for training; [`Decode`] runs it on plain slices with a key-value cache and no allocation, for
//! generation. The kernels of both are held to the same definitions, so a token's log-probability is the same number, to rounding, on both
//! sides.

mod autograd;
mod config;
mod decode;
mod decoder;
mod ops;
mod pretrained;
mod sampling;
mod tensors;
mod tokenizer;
mod value_head;
mod weights;

pub use autograd::{Autograd, PackedBatch};
pub use config::{ConfigError, ModelConfig};
pub use decode::{Decode, ServedWeights};
pub use decoder::{Decoder, Executor, Layer, logits, states};
pub use pretrained::{ModelError, Pretrained};
pub use sampling::{Choice, Sampler};
pub use tensors::{TensorError, read_tensors, write_tensors};
pub use tokenizer::{HfTokenizer, train_tokenizer};
pub use value_head::ValueHead;
pub use weights::{HostWeights, Parameter, WeightError};
