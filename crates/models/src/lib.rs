//! One decoder, its weights, its tokenizer.
//!
//! The architecture is written once, for all families, as a [`Decoder`] over a small set of operations. [`Autograd`] runs it over
//! whole sequences and walks back with gradients, for training; [`Decode`] runs it with a key-value cache, for generation. The kernels of
//! both are held to the same definitions, so a token's log-probability is the same number, to rounding, on both sides.

mod adapter;
mod autograd;
mod buffers;
mod checkpoint;
mod config;
mod decode;
mod decoder;
mod executor;
mod families;
#[cfg(any(feature = "cuda", feature = "shim"))]
pub mod gpu;
mod mixture;
mod ops;
mod packed_batch;
mod parameters;
mod recording;
mod sampling;
mod served;
mod stored;
mod tape;
mod tokenizer;
mod trail;
mod value_head;
mod variable;
mod weights;

pub use adapter::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterError, Factors, HostAdapter, LoraConfig, Targets};
pub use autograd::Autograd;
pub use buffers::Buffer;
pub use checkpoint::{
    COMPANIONS, ModelError, Pretrained, REQUIRED, RefusedFormat, ShardError, Storage, StoredDtype, TensorError,
    WEIGHTS, WEIGHTS_INDEX, dequantize_mxfp4, element_types_of, read_index, read_tensors, tensors_of, weights_of,
    write_tensors,
};
pub use config::{ConfigError, ModelConfig};
pub use decode::Decode;
pub use decoder::Decoder;
pub use families::LlamaConfig;
pub use packed_batch::PackedBatch;
pub use parameters::Parameter;
pub use recording::Recording;
pub use sampling::{Choice, Draw, Sampler};
pub use served::ServedWeights;
pub use stored::Stored;
pub use tokenizer::{HfTokenizer, train_tokenizer};
pub use value_head::ValueHead;
pub use variable::Variable;
pub use weights::{HostWeights, WeightError};
