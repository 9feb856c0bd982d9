//! One decoder, its weights, its tokenizer.
//!
//! The architecture is written once, as a [`Decoder`] and its [`logits`], over a small [`Executor`] trait. [`Autograd`] runs it on
//! packed sequences and remembers how to walk back, for training; [`Decode`] runs it on plain slices with a key-value cache and no allocation, for
//! generation. Both call the same kernels, so a token's log-probability is the same number, to rounding, on both sides.

mod autograd;
mod config;
mod decode;
mod decoder;
mod gradients;
mod pretrained;
mod sampling;
mod tape;
mod tensors;
mod tokenizer;
mod weights;

pub use autograd::{Autograd, PackedBatch, Scored, TooLong};
pub use config::{ConfigError, ModelConfig};
pub use decode::{Decode, ServedWeights};
pub use decoder::{Decoder, Executor, Layer, logits};
pub use gradients::Gradients;
pub use pretrained::{ModelError, Pretrained};
pub use sampling::{Choice, Sampler};
pub use tensors::{TensorError, read_tensors, write_tensors};
pub use tokenizer::{HfTokenizer, train_tokenizer};
pub use weights::{HostWeights, Parameter, WeightError};
