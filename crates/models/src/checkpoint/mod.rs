//! A model as files in Hugging Face's layout, read as what strangers wrote and written for them to read.
//!
//! | On disk                                              | Here                                                     |
//! |------------------------------------------------------|----------------------------------------------------------|
//! | `model.safetensors`, or shards and their index       | read by ranges, one tensor at a time, never a file whole |
//! | F32, BF16, F16                                       | f32, held as bf16 where that loses nothing               |
//! | U8 pairs `X_blocks` and `X_scales` (MXFP4)           | `X`, likewise                                            |
//! | pickles (`*.bin`, `*.pt`, `*.pth`), GGUF             | refused, with the way out                                |
//!
//! What a header claims is believed only as far as the file reaches: nothing larger than a few times the file is ever allocated.

mod by_tensor;
mod header;
mod mxfp4;
mod pretrained;
mod refused;
mod save;
mod shards;
mod tensors;

pub use mxfp4::dequantize_mxfp4;
pub use pretrained::{
    COMPANIONS, ModelError, Pretrained, REQUIRED, WEIGHTS, WEIGHTS_INDEX, element_types_of, tensors_of, weights_of,
};
pub use refused::RefusedFormat;
pub use save::{Storage, StoredDtype, write_tensors};
pub use shards::{ShardError, read_index};
pub use tensors::{TensorError, read_tensors};
