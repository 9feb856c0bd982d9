//! The tensors of a model over all its files.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use stateset_domain::NamedTensor;
use thiserror::Error;

use super::by_tensor::ByTensor;
use super::header::{Dtype, Entry};
use super::mxfp4::{BLOCK, dequantize_mxfp4};
use super::tensors::{TensorError, TensorFile};

/// A file with some of the tensors.
pub(super) struct Shard<'a> {
    pub(super) name: String,
    pub(super) file: TensorFile<'a>,
}

/// Why an index and its shards are not one model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ShardError {
    /// Not an index.
    #[error("{0}")]
    Parse(String),
    /// A shard is not a file beside the index.
    #[error("tensor {tensor} is said to be in {shard:?}, which is not the name of a safetensors file beside the index")]
    Name {
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// A shard is absent.
    #[error("tensor {tensor} is said to be in {shard}, which is missing")]
    Missing {
        /// The first tensor in it.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// A shard lacks a tensor.
    #[error("tensor {tensor} is said to be in {shard}, but is not")]
    Absent {
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// A shard has a tensor that the index does not know there.
    #[error("tensor {tensor} is in {shard}, but the index says {said}")]
    Stray {
        /// The tensor.
        tensor: String,
        /// Where it is.
        shard: String,
        /// Where the index says it is.
        said: String,
    },
}

/// Reads `model.safetensors.index.json`: the shard of every tensor.
///
/// # Errors
/// [`ShardError::Parse`], or [`ShardError::Name`] for a shard that would not lie beside the index.
pub fn read_index(bytes: &[u8]) -> Result<BTreeMap<String, String>, ShardError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: ByTensor<String>,
    }
    let index: Index = serde_json::from_slice(bytes).map_err(|error| ShardError::Parse(error.to_string()))?;
    for (tensor, shard) in &index.weight_map.0 {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !shard.ends_with(".safetensors") || shard.starts_with('.') || !shard.chars().all(plain) {
            return Err(ShardError::Name { tensor: tensor.clone(), shard: shard.clone() });
        }
    }
    Ok(index.weight_map.0)
}

/// Holds an index against what is in the shards it names.
pub(super) fn agree(index: &BTreeMap<String, String>, shards: &[Shard<'_>]) -> Result<(), ShardError> {
    let by_name: BTreeMap<_, _> = shards.iter().map(|it| (it.name.as_str(), &it.file.entries)).collect();
    for (tensor, shard) in index {
        if !by_name.get(shard.as_str()).is_some_and(|entries| entries.contains_key(tensor)) {
            return Err(ShardError::Absent { tensor: tensor.clone(), shard: shard.clone() });
        }
    }
    for (shard, entries) in by_name {
        if let Some(tensor) = entries.keys().find(|tensor| index.get(*tensor).is_none_or(|said| said != shard)) {
            let said = index.get(tensor).map_or("nothing of it".into(), |said| format!("in {said}"));
            return Err(ShardError::Stray { tensor: tensor.clone(), shard: shard.into(), said });
        }
    }
    Ok(())
}

/// Every tensor of `shards` by name, blocks and scales of MXFP4 made into what they stand for. Fails with the index of the shard.
pub(super) fn read_all(shards: &mut [Shard<'_>]) -> Result<Vec<NamedTensor>, (usize, TensorError)> {
    let mut places: BTreeMap<String, (usize, Entry)> = BTreeMap::new();
    for (at, shard) in shards.iter().enumerate() {
        for (name, entry) in &shard.file.entries {
            if places.insert(name.clone(), (at, entry.clone())).is_some() {
                return Err((at, wrong(name, "another file has it too")));
            }
        }
    }
    let mut tensors = Vec::with_capacity(places.len());
    for (name, (at, entry)) in &places {
        if entry.dtype != Dtype::U8 {
            let data = shards[*at].file.numbers(entry).map_err(|error| (*at, error))?;
            tensors.push(NamedTensor { name: name.clone(), shape: entry.shape.clone(), data });
        } else if let Some(stem) = name.strip_suffix("_blocks") {
            let (scales_at, scales) = places
                .get(&format!("{stem}_scales"))
                .ok_or_else(|| (*at, wrong(name, &format!("{stem}_scales is missing"))))?;
            if places.contains_key(stem) {
                return Err((*at, wrong(name, &format!("{stem} is there too"))));
            }
            let scale_bytes = bytes_of(&mut shards[*scales_at], scales).map_err(|error| (*scales_at, error))?;
            let fused = dequantized(stem, &mut shards[*at], entry, scales, &scale_bytes);
            tensors.push(fused.map_err(|error| (*at, error))?);
        } else {
            let stem = name.strip_suffix("_scales");
            if !stem.is_some_and(|stem| places.contains_key(&format!("{stem}_blocks"))) {
                return Err((*at, TensorError::Dtype { name: name.clone(), dtype: "U8".into() }));
            }
        }
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

fn wrong(name: &str, problem: &str) -> TensorError {
    TensorError::Tensor { name: name.into(), problem: problem.into() }
}

fn bytes_of(shard: &mut Shard<'_>, entry: &Entry) -> Result<Vec<u8>, TensorError> {
    let mut bytes = vec![0; entry.count * entry.dtype.size()];
    shard.file.bytes(entry, 0, &mut bytes)?;
    Ok(bytes)
}

/// The tensor `name` of `blocks` `[.., rows, blocks, 16]` and `scales` `[.., rows, blocks]`: `[.., 32 * blocks, rows]`.
fn dequantized(
    name: &str,
    shard: &mut Shard<'_>,
    blocks: &Entry,
    scales: &Entry,
    scale_bytes: &[u8],
) -> Result<NamedTensor, TensorError> {
    let [prefix @ .., rows, per_row, BLOCK] = &blocks.shape[..] else {
        let problem = format!("shape {:?} of its blocks is not [.., rows, blocks, {BLOCK}]", blocks.shape);
        return Err(wrong(name, &problem));
    };
    if scales.dtype != Dtype::U8 || scales.shape != blocks.shape[..blocks.shape.len() - 1] || blocks.count == 0 {
        let problem = format!("scales are {:?} of shape {:?}, blocks {:?}", scales.dtype, scales.shape, blocks.shape);
        return Err(wrong(name, &problem));
    }
    let mut data: Arc<[f32]> = std::iter::repeat_n(0.0, 2 * blocks.count).collect();
    let unshared = Arc::get_mut(&mut data).expect("nobody else has it yet");
    let mut matrix = vec![0; rows * per_row * BLOCK];
    let parts = unshared.chunks_mut(2 * matrix.len()).zip(scale_bytes.chunks(rows * per_row));
    for (at, (out, scales)) in parts.enumerate() {
        shard.file.bytes(blocks, at * matrix.len(), &mut matrix)?;
        dequantize_mxfp4(&matrix, scales, *rows, out);
    }
    let shape = prefix.iter().copied().chain([2 * BLOCK * per_row, *rows]).collect();
    Ok(NamedTensor { name: name.into(), shape, data })
}
