//! Named f32 tensors to and from the safetensors format.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use stateset_domain::NamedTensor;
use thiserror::Error;

/// Why a safetensors file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TensorError {
    /// The file is truncated or not in the format.
    #[error("not a whole safetensors file: {0}")]
    Format(String),
    /// A tensor is not f32.
    #[error("tensor {name} is {dtype}, only F32 is supported")]
    Dtype {
        /// The tensor.
        name: String,
        /// Its element type.
        dtype: String,
    },
}

/// Serialises `tensors`; equal tensors give equal bytes.
///
/// # Errors
/// [`TensorError::Format`] if two tensors share a name or a shape does not match its data.
pub fn write_tensors(tensors: &[NamedTensor]) -> Result<Vec<u8>, TensorError> {
    let format = |error: safetensors::SafeTensorError| TensorError::Format(error.to_string());
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|t| t.data.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let mut views = BTreeMap::new();
    for (tensor, bytes) in tensors.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).map_err(format)?;
        if views.insert(tensor.name.as_str(), view).is_some() {
            return Err(TensorError::Format(format!("two tensors are named {}", tensor.name)));
        }
    }
    let metadata = std::collections::HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize(views, Some(metadata)).map_err(format)
}

/// Reads every tensor of a safetensors file, sorted by name.
///
/// # Errors
/// [`TensorError`].
pub fn read_tensors(bytes: &[u8]) -> Result<Vec<NamedTensor>, TensorError> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| TensorError::Format(error.to_string()))?;
    let mut tensors = Vec::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(TensorError::Dtype { name: name.to_string(), dtype: format!("{:?}", view.dtype()) });
        }
        let (values, _) = view.data().as_chunks::<4>();
        let data = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        tensors.push(NamedTensor { name: name.to_string(), shape: view.shape().to_vec(), data });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}
