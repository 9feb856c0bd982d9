//! The small checkpoints of every family, and what transformers answers with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use stateset_models::Pretrained;

/// Every family, and variants of configuration and storage.
pub(crate) const ALL: [&str; 17] = [
    "llama",
    "llama2",
    "llama_dynamic",
    "llama_sharded",
    "llama_yarn",
    "smollm2",
    "smollm3",
    "mistral",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "gemma2",
    "gemma3",
    "phi3",
    "phi3_longrope",
    "olmo2",
    "gpt_oss",
];

/// The folder of a family.
pub(crate) fn folder(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/models/fixtures").join(family)
}

pub(crate) fn load(family: &str) -> Pretrained {
    Pretrained::from_folder(&folder(family)).unwrap_or_else(|error| panic!("{family}: {error}"))
}

/// Numbers by their names.
pub(crate) struct Expected {
    floats: BTreeMap<String, Vec<f32>>,
    integers: BTreeMap<String, Vec<i64>>,
}

impl Expected {
    pub(crate) fn of(family: &str) -> Self {
        Self::read(&folder(family).join("expected.safetensors"))
    }

    pub(crate) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (mut floats, mut integers) = (BTreeMap::new(), BTreeMap::new());
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().iter() {
            if view.dtype() == Dtype::F32 {
                let values = view.data().as_chunks::<4>().0.iter().map(|it| f32::from_le_bytes(*it));
                floats.insert(name.to_string(), values.collect());
            } else {
                let values = view.data().as_chunks::<8>().0.iter().map(|it| i64::from_le_bytes(*it));
                integers.insert(name.to_string(), values.collect());
            }
        }
        Self { floats, integers }
    }

    pub(crate) fn floats(&self, name: &str) -> &[f32] {
        &self.floats[name]
    }

    pub(crate) fn all(&self) -> &BTreeMap<String, Vec<f32>> {
        &self.floats
    }

    pub(crate) fn ids(&self, name: &str) -> Vec<u32> {
        self.integers[name].iter().map(|id| *id as u32).collect()
    }

    /// The sequences of unequal lengths.
    pub(crate) fn batch(&self) -> Vec<Vec<u32>> {
        let (ids, mut start) = (self.ids("batch_ids"), 0);
        let lengths = self.ids("batch_lengths");
        let sequence = |length: &u32| {
            start += *length as usize;
            ids[start - *length as usize..start].to_vec()
        };
        lengths.iter().map(sequence).collect()
    }
}

/// Asserts that `found` is `expected` within `relative` of the largest.
#[track_caller]
pub(crate) fn assert_near(what: &str, found: &[f32], expected: &[f32], relative: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
    let off = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |worst: f32, x| if x <= worst { worst } else { x });
    assert!(off <= relative * largest, "{what}: {off} off, of {largest}");
}
