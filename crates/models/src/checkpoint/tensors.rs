//! Named tensors out of a safetensors file, converted to f32 while they are read.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

use half::{bf16, f16};
use stateset_domain::NamedTensor;
use thiserror::Error;

use super::header::{Dtype, Entry, read_header};
use super::shards::{Catalog, Shard};

/// Why a safetensors file cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TensorError {
    /// The file is truncated or not in the format.
    #[error("not a whole safetensors file: {0}")]
    Format(String),
    /// A tensor has an element type that is not supported.
    #[error("tensor {name} is {dtype}, only F32, BF16, F16 and, as the blocks and scales of MXFP4, U8 are supported")]
    Dtype {
        /// The tensor.
        name: String,
        /// Its element type.
        dtype: String,
    },
    /// A tensor contradicts itself or its neighbours.
    #[error("tensor {name}: {problem}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(String),
}

impl TensorError {
    pub(super) fn io(error: io::Error) -> Self {
        Self::Read(error.to_string())
    }
}

/// Something to read by ranges: a file, or bytes in memory.
pub(super) trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

/// A safetensors file that is read one tensor at a time.
pub(super) struct TensorFile<'a> {
    source: Box<dyn Source + 'a>,
    /// What it holds.
    pub(super) entries: BTreeMap<String, Entry>,
}

/// Bytes on their way from a file to numbers.
const BUFFER: usize = 1 << 20;

impl<'a> TensorFile<'a> {
    /// Reads the header.
    pub(super) fn open(mut source: Box<dyn Source + 'a>) -> Result<Self, TensorError> {
        let entries = read_header(&mut source)?;
        Ok(Self { source, entries })
    }

    /// The numbers of `entry`, of this file.
    pub(super) fn numbers(&mut self, entry: &Entry) -> Result<Vec<f32>, TensorError> {
        let mut numbers = vec![0.0; entry.count];
        self.source.seek(SeekFrom::Start(entry.offset)).map_err(TensorError::io)?;
        let mut buffer = vec![0; BUFFER.min(entry.count * entry.dtype.size())];
        for part in numbers.chunks_mut(BUFFER / entry.dtype.size()) {
            let bytes = &mut buffer[..part.len() * entry.dtype.size()];
            self.source.read_exact(bytes).map_err(TensorError::io)?;
            convert(entry.dtype, bytes, part);
        }
        Ok(numbers)
    }

    /// The bytes of `entry` from the `from`th, as many as `bytes` takes.
    pub(super) fn bytes(&mut self, entry: &Entry, from: usize, bytes: &mut [u8]) -> Result<(), TensorError> {
        self.source.seek(SeekFrom::Start(entry.offset + from as u64)).map_err(TensorError::io)?;
        self.source.read_exact(bytes).map_err(TensorError::io)
    }
}

fn convert(dtype: Dtype, bytes: &[u8], numbers: &mut [f32]) {
    let halves = bytes.as_chunks::<2>().0;
    match dtype {
        Dtype::F32 => {
            numbers.iter_mut().zip(bytes.as_chunks::<4>().0).for_each(|(x, bytes)| *x = f32::from_le_bytes(*bytes));
        }
        Dtype::Bf16 => {
            numbers.iter_mut().zip(halves).for_each(|(x, bytes)| *x = bf16::from_le_bytes(*bytes).to_f32());
        }
        Dtype::F16 => numbers.iter_mut().zip(halves).for_each(|(x, bytes)| *x = f16::from_le_bytes(*bytes).to_f32()),
        Dtype::U8 => numbers.iter_mut().zip(bytes).for_each(|(x, byte)| *x = f32::from(*byte)),
    }
}

/// Reads every tensor of the safetensors file `bytes`, sorted by name.
///
/// # Errors
/// [`TensorError`].
pub fn read_tensors(bytes: &[u8]) -> Result<Vec<NamedTensor>, TensorError> {
    let file = TensorFile::open(Box::new(Cursor::new(bytes)))?;
    let catalog = Catalog::new(vec![Shard { name: String::new(), file }]);
    catalog.and_then(Catalog::read_all).map_err(|error| error.source)
}
