//! Named f32 tensors to the safetensors format, in one file or in shards with an index.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use half::bf16;
use safetensors::tensor::{self, View};
use serde_json::json;
use stateset_domain::{Artifact, NamedTensor};

use super::pretrained::{WEIGHTS, WEIGHTS_INDEX};
use super::tensors::TensorError;

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    /// Their element type.
    pub dtype: StoredDtype,
    /// Bytes of tensors in one file, at most, unless one tensor alone has more.
    pub most_bytes: usize,
}

impl Default for Storage {
    /// Exact, and 5 GB a file, as transformers used to write.
    fn default() -> Self {
        Self { dtype: StoredDtype::F32, most_bytes: 5_000_000_000 }
    }
}

/// An element type to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredDtype {
    /// Exact.
    F32,
    /// Half the size, each number rounded to the nearest, to even in the middle.
    Bf16,
}

impl StoredDtype {
    fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    fn bytes(self, numbers: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::Bf16 => numbers.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
        }
    }

    fn name(self) -> tensor::Dtype {
        match self {
            Self::F32 => tensor::Dtype::F32,
            Self::Bf16 => tensor::Dtype::BF16,
        }
    }
}

/// Serialises `tensors` in f32; equal tensors give equal bytes.
///
/// # Errors
/// [`TensorError`] if two tensors share a name or a shape does not match its data.
pub fn write_tensors(tensors: &[NamedTensor]) -> Result<Vec<u8>, TensorError> {
    serialized(tensors, StoredDtype::F32)
}

/// The files of `tensors`: `model.safetensors`, or shards in order and their index.
pub(super) fn weight_files(tensors: &[NamedTensor], storage: Storage) -> Result<Vec<Artifact>, TensorError> {
    let size = |tensor: &NamedTensor| tensor.data.len() * storage.dtype.size();
    let mut shards: Vec<&[NamedTensor]> = Vec::new();
    let (mut first, mut filled) = (0, 0);
    for (at, tensor) in tensors.iter().enumerate() {
        if filled > 0 && filled + size(tensor) > storage.most_bytes {
            shards.push(&tensors[first..at]);
            (first, filled) = (at, 0);
        }
        filled += size(tensor);
    }
    shards.push(&tensors[first..]);
    if let [all] = shards[..] {
        return Ok(vec![Artifact { name: WEIGHTS.into(), bytes: serialized(all, storage.dtype)? }]);
    }
    let (mut files, mut index) = (Vec::new(), BTreeMap::new());
    for (at, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", at + 1, shards.len());
        for tensor in *shard {
            if index.insert(tensor.name.as_str(), name.clone()).is_some() {
                return Err(twice(&tensor.name));
            }
        }
        files.push(Artifact { name, bytes: serialized(shard, storage.dtype)? });
    }
    let total: usize = tensors.iter().map(size).sum();
    let index = json!({ "metadata": { "total_size": total }, "weight_map": index });
    files.push(Artifact { name: WEIGHTS_INDEX.into(), bytes: format!("{index:#}\n").into_bytes() });
    Ok(files)
}

fn serialized(tensors: &[NamedTensor], dtype: StoredDtype) -> Result<Vec<u8>, TensorError> {
    let mut views = BTreeMap::new();
    for tensor in tensors {
        if tensor.shape.iter().product::<usize>() != tensor.data.len() {
            let problem = format!("shape {:?} is not that of {} numbers", tensor.shape, tensor.data.len());
            return Err(TensorError::Tensor { name: tensor.name.clone(), problem });
        }
        if views.insert(tensor.name.as_str(), Written { tensor, dtype }).is_some() {
            return Err(twice(&tensor.name));
        }
    }
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| TensorError::Format(error.to_string()))
}

/// A tensor whose bytes are made when they are written, so that those of all tensors never exist twice.
struct Written<'a> {
    tensor: &'a NamedTensor,
    dtype: StoredDtype,
}

impl View for Written<'_> {
    fn dtype(&self) -> tensor::Dtype {
        self.dtype.name()
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.dtype.bytes(&self.tensor.data).into()
    }

    fn data_len(&self) -> usize {
        self.tensor.data.len() * self.dtype.size()
    }
}

fn twice(name: &str) -> TensorError {
    TensorError::Format(format!("two tensors are named {name}"))
}
