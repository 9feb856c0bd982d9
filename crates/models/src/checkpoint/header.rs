//! The header of a safetensors file: what tensors there are, and where.
//!
//! It is read here rather than by the `safetensors` crate, which needs the whole file in memory, takes the last of two tensors with one
//! name, and does not say which tensor is wrong.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use serde::Deserialize;

use super::by_tensor::ByTensor;
use super::tensors::TensorError;

/// The format's own bound on a header, bytes.
const MOST_HEADER: u64 = 100_000_000;
/// Bytes of the number in front of the header.
const LENGTH: u64 = 8;
/// More dimensions than any weight has; keeps a shape from being larger than what it describes.
const MOST_DIMENSIONS: usize = 8;

/// How a tensor's numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dtype {
    F32,
    Bf16,
    F16,
    U8,
}

impl Dtype {
    fn named(name: &str) -> Option<Self> {
        match name {
            "F32" => Some(Self::F32),
            "BF16" => Some(Self::Bf16),
            "F16" => Some(Self::F16),
            "U8" => Some(Self::U8),
            _ => None,
        }
    }

    /// Its name in a header.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::Bf16 => "BF16",
            Self::F16 => "F16",
            Self::U8 => "U8",
        }
    }

    /// Bytes of one number.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
            Self::U8 => 1,
        }
    }
}

/// Where a tensor is; its bytes are known to lie within the file and to be as many as its shape asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// From the start of the file, bytes.
    pub(super) offset: u64,
    /// How many numbers.
    pub(super) count: usize,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// Reads the header at the start of `source`.
pub(super) fn read_header(source: &mut (impl Read + Seek)) -> Result<BTreeMap<String, Entry>, TensorError> {
    let size = source.seek(SeekFrom::End(0)).map_err(TensorError::io)?;
    source.rewind().map_err(TensorError::io)?;
    if size < LENGTH {
        return Err(TensorError::Format(format!("{size} bytes are too few")));
    }
    let mut length = [0; LENGTH as usize];
    source.read_exact(&mut length).map_err(TensorError::io)?;
    let length = u64::from_le_bytes(length);
    let room = (size - LENGTH).min(MOST_HEADER);
    if length > room {
        return Err(TensorError::Format(format!("its header is said to have {length} bytes, at most {room} can be")));
    }
    let mut text = vec![0; length as usize];
    source.read_exact(&mut text).map_err(TensorError::io)?;
    let ByTensor(raw) =
        serde_json::from_slice(&text).map_err(|error| TensorError::Format(format!("its header: {error}")))?;
    placed(raw, LENGTH + length, size)
}

/// The entries of a file of `size` bytes whose data begins at `start`: one after the other, without gaps, to the end.
fn placed(raw: BTreeMap<String, Raw>, start: u64, size: u64) -> Result<BTreeMap<String, Entry>, TensorError> {
    let data = size - start;
    let mut order: Vec<(&String, (u64, u64))> = raw.iter().map(|(name, it)| (name, it.data_offsets)).collect();
    order.sort_by_key(|(_, offsets)| *offsets);
    let mut end = 0;
    for (name, (from, to)) in order {
        if from != end || to < from || to > data {
            let problem = format!("its data is at {from}..{to}, where {end}.. is next and {data} bytes are there");
            return Err(TensorError::Tensor { name: name.clone(), problem });
        }
        end = to;
    }
    if end != data {
        return Err(TensorError::Format(format!("the tensors end at {end}, but {data} bytes are there")));
    }
    raw.into_iter()
        .map(|(name, raw)| {
            let entry = raw.entry(&name, start)?;
            Ok((name, entry))
        })
        .collect()
}

impl Raw {
    fn entry(self, name: &str, start: u64) -> Result<Entry, TensorError> {
        let Self { dtype, shape, data_offsets: (from, to) } = self;
        let dtype = Dtype::named(&dtype).ok_or_else(|| TensorError::Dtype { name: name.into(), dtype })?;
        let wrong = |problem: String| TensorError::Tensor { name: name.into(), problem };
        if shape.len() > MOST_DIMENSIONS {
            return Err(wrong(format!("it has {} dimensions, at most {MOST_DIMENSIONS} are supported", shape.len())));
        }
        let count = shape.iter().try_fold(1_usize, |count, side| count.checked_mul(*side));
        let bytes = count.and_then(|count| count.checked_mul(dtype.size()));
        match (count, bytes) {
            (Some(count), Some(bytes)) if bytes as u64 == to - from => {
                Ok(Entry { dtype, shape, offset: start + from, count })
            }
            (_, Some(bytes)) => Err(wrong(format!("shape {shape:?} takes {bytes} bytes, {} are there", to - from))),
            (_, None) => Err(wrong(format!("shape {shape:?} is larger than any memory"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn read(header: &str, data: usize) -> Result<BTreeMap<String, Entry>, String> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        read_header(&mut Cursor::new(bytes)).map_err(|error| error.to_string())
    }

    fn assert_refused(header: &str, data: usize, why: &str) {
        let error = read(header, data).unwrap_err();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn a_tensor_is_where_the_header_says() {
        let header = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,1],"data_offsets":[4,8]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
        let entries = read(header, 8).unwrap();
        let offset = 8 + header.len() as u64;
        assert_eq!(entries["a"], Entry { dtype: Dtype::F32, shape: vec![], offset, count: 1 });
        assert_eq!(entries["b"], Entry { dtype: Dtype::Bf16, shape: vec![2, 1], offset: offset + 4, count: 2 });
    }

    #[test]
    fn a_header_longer_than_the_file_or_the_format_is_refused_before_it_is_read() {
        for claimed in [1, MOST_HEADER + 1, u64::MAX] {
            let error = read_header(&mut Cursor::new(claimed.to_le_bytes())).unwrap_err().to_string();
            assert!(error.contains(&format!("said to have {claimed} bytes, at most 0")), "{error}");
        }
    }

    #[test]
    fn lies_about_a_tensor_are_told_with_its_name() {
        let one = |body: &str| format!("{{\"w\":{{{body}}}}}");
        let at = |shape: &str, from: u64, to: u64| {
            one(&format!("\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[{from},{to}]"))
        };
        assert_refused(&at("[2]", 0, 4), 4, "tensor w: shape [2] takes 8 bytes, 4 are there");
        assert_refused(&at("[1]", 0, 8), 4, "tensor w: its data is at 0..8");
        assert_refused(&at("[1]", 4, 0), 4, "tensor w: its data is at 4..0");
        assert_refused(&at("[1]", 4, 8), 8, "tensor w: its data is at 4..8, where 0.. is next");
        assert_refused(&at("[1]", 0, 4), 5, "the tensors end at 4, but 5 bytes are there");
        assert_refused(&at("[4294967296,4294967296]", 0, 4), 4, "tensor w: shape [4294967296, 4294967296] is larger");
        assert_refused(&at("[1,1,1,1,1,1,1,1,1]", 0, 4), 4, "tensor w: it has 9 dimensions");
        assert_refused(&at("[-1]", 0, 4), 4, "tensor w: ");
        assert_refused(&one("\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]"), 8, "tensor w is I64");
    }

    #[test]
    fn overlapping_tensors_and_two_of_one_name_are_refused() {
        let w = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
        assert_refused(&format!("{{\"a\":{w},\"b\":{w}}}"), 4, "tensor b: its data is at 0..4, where 4.. is next");
        assert_refused(&format!("{{\"a\":{w},\"a\":{w}}}"), 4, "two tensors are named a");
    }
}
