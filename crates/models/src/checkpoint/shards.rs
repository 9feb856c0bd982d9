//! The tensors of a model over all its files.

use std::collections::BTreeMap;

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

impl Shard<'_> {
    fn reading<R>(&mut self, read: impl FnOnce(&mut Self) -> Result<R, TensorError>) -> Result<R, InFile> {
        read(self).map_err(|source| InFile { file: self.name.clone(), source })
    }
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

/// What is wrong in which file.
#[derive(Debug)]
pub(super) struct InFile {
    pub(super) file: String,
    pub(super) source: TensorError,
}

/// The tensors of all files by name, read one at a time.
pub(super) struct Catalog<'a> {
    shards: Vec<Shard<'a>>,
    places: BTreeMap<String, Place>,
}

/// Where a tensor is.
enum Place {
    Plain(Found),
    /// Blocks and scales of MXFP4, which it is made of.
    Blocks(Found, Found),
}

#[derive(Clone)]
struct Found {
    shard: usize,
    entry: Entry,
}

impl<'a> Catalog<'a> {
    pub(super) fn new(shards: Vec<Shard<'a>>) -> Result<Self, InFile> {
        let places = places(&shards).map_err(|(at, source)| InFile { file: shards[at].name.clone(), source })?;
        Ok(Self { shards, places })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// The shape and the numbers of the tensor `name`, which is one of [`names`](Self::names).
    pub(super) fn read(&mut self, name: &str) -> Result<(Vec<usize>, Vec<f32>), InFile> {
        let Self { shards, places } = self;
        match &places[name] {
            Place::Plain(Found { shard, entry }) => {
                shards[*shard].reading(|shard| Ok((entry.shape.clone(), shard.file.numbers(entry)?)))
            }
            Place::Blocks(blocks, scales) => {
                let scale_bytes = shards[scales.shard].reading(|shard| bytes_of(shard, &scales.entry))?;
                shards[blocks.shard]
                    .reading(|shard| dequantized(name, shard, &blocks.entry, &scales.entry, &scale_bytes))
            }
        }
    }

    /// Every tensor, sorted by name.
    pub(super) fn read_all(mut self) -> Result<Vec<NamedTensor>, InFile> {
        let names: Vec<String> = self.names().map(str::to_string).collect();
        let read = |name: String| {
            let (shape, data) = self.read(&name)?;
            Ok(NamedTensor { name, shape, data: data.into() })
        };
        names.into_iter().map(read).collect()
    }
}

fn places(shards: &[Shard<'_>]) -> Result<BTreeMap<String, Place>, (usize, TensorError)> {
    let mut all: BTreeMap<&str, Found> = BTreeMap::new();
    for (shard, Shard { file, .. }) in shards.iter().enumerate() {
        for (name, entry) in &file.entries {
            if all.insert(name, Found { shard, entry: entry.clone() }).is_some() {
                return Err((shard, wrong(name, "another file has it too")));
            }
        }
    }
    let mut places = BTreeMap::new();
    for (name, found) in &all {
        if found.entry.dtype != Dtype::U8 {
            places.insert((*name).to_string(), Place::Plain(found.clone()));
        } else if let Some(stem) = name.strip_suffix("_blocks") {
            let scales = all
                .get(format!("{stem}_scales").as_str())
                .ok_or_else(|| (found.shard, wrong(name, &format!("{stem}_scales is missing"))))?;
            if all.contains_key(stem) {
                return Err((found.shard, wrong(name, &format!("{stem} is there too"))));
            }
            places.insert(stem.to_string(), Place::Blocks(found.clone(), scales.clone()));
        } else {
            let stem = name.strip_suffix("_scales");
            if !stem.is_some_and(|stem| all.contains_key(format!("{stem}_blocks").as_str())) {
                return Err((found.shard, TensorError::Dtype { name: (*name).into(), dtype: "U8".into() }));
            }
        }
    }
    Ok(places)
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
) -> Result<(Vec<usize>, Vec<f32>), TensorError> {
    let [prefix @ .., rows, per_row, BLOCK] = &blocks.shape[..] else {
        let problem = format!("shape {:?} of its blocks is not [.., rows, blocks, {BLOCK}]", blocks.shape);
        return Err(wrong(name, &problem));
    };
    if scales.dtype != Dtype::U8 || scales.shape != blocks.shape[..blocks.shape.len() - 1] || blocks.count == 0 {
        let problem = format!("scales are {:?} of shape {:?}, blocks {:?}", scales.dtype, scales.shape, blocks.shape);
        return Err(wrong(name, &problem));
    }
    let mut data = vec![0.0; 2 * blocks.count];
    let mut matrix = vec![0; rows * per_row * BLOCK];
    let parts = data.chunks_mut(2 * matrix.len()).zip(scale_bytes.chunks(rows * per_row));
    for (at, (out, scales)) in parts.enumerate() {
        shard.file.bytes(blocks, at * matrix.len(), &mut matrix)?;
        dequantize_mxfp4(&matrix, scales, *rows, out);
    }
    let shape = prefix.iter().copied().chain([2 * BLOCK * per_row, *rows]).collect();
    Ok((shape, data))
}
