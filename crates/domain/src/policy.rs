//! A policy's weights at one version: the only thing learner and engine exchange.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::PolicyVersion;

/// SHA-256 of a policy's tensors.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let byte = |i: usize| text.get(2 * i..2 * i + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
        match (text.len(), bytes.and_then(|bytes| bytes.try_into().ok())) {
            (64, Some(bytes)) => Ok(Self(bytes)),
            _ => Err(serde::de::Error::custom(format!("a digest is 64 hexadecimal digits, not {text:?}"))),
        }
    }
}

/// SHA-256 of `bytes`, as 64 hexadecimal digits.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    Digest(Sha256::digest(bytes).into()).to_string()
}

/// One f32 tensor by name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Its Hugging Face name, such as `model.layers.0.mlp.down_proj.weight`.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub data: Arc<[f32]>,
}

/// Immutable weights at one version. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PolicySnapshot {
    version: PolicyVersion,
    digest: Digest,
    tensors: Arc<[NamedTensor]>,
    resident: Option<Arc<dyn Any + Send + Sync>>,
}

/// How many values are hashed together.
const PIECE: usize = 1 << 20;

impl PolicySnapshot {
    /// Takes `tensors` as the policy at `version` and computes their digest.
    #[must_use]
    pub fn new(version: PolicyVersion, tensors: Vec<NamedTensor>) -> Self {
        let digest = Self::digest_of(&tensors);
        Self { version, digest, tensors: tensors.into(), resident: None }
    }

    /// The same, beside a copy of the weights where they are computed, for an engine that knows what it is.
    #[must_use]
    pub fn beside(self, resident: Option<Arc<dyn Any + Send + Sync>>) -> Self {
        Self { resident, ..self }
    }

    /// The copy of the weights where they are computed, if there is one.
    #[must_use]
    pub fn resident(&self) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.resident.as_ref()
    }

    /// SHA-256 over names, shapes, and the SHA-256 of every 2^20 values of a tensor, little-endian, in the order given: pieces are hashed
    /// by all threads there are. The version is not part of it: equal weights have equal digests.
    #[must_use]
    pub fn digest_of(tensors: &[NamedTensor]) -> Digest {
        let pieces: Vec<&[f32]> = tensors.iter().flat_map(|tensor| tensor.data.chunks(PIECE)).collect();
        let mut hashed = pieces.par_iter().map(|values| of_values(values)).collect::<Vec<_>>().into_iter();
        let mut hash = Sha256::new();
        for tensor in tensors {
            hash.update(tensor.name.as_bytes());
            tensor.shape.iter().for_each(|n| hash.update((*n as u64).to_le_bytes()));
            hashed.by_ref().take(tensor.data.len().div_ceil(PIECE)).for_each(|piece| hash.update(piece));
        }
        Digest(hash.finalize().into())
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> PolicyVersion {
        self.version
    }

    /// The digest of the weights.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The weights.
    #[must_use]
    pub fn tensors(&self) -> &[NamedTensor] {
        &self.tensors
    }
}

fn of_values(values: &[f32]) -> [u8; 32] {
    let (mut hash, mut bytes) = (Sha256::new(), [0; 4096]);
    for values in values.chunks(bytes.len() / 4) {
        let (words, _) = bytes.as_chunks_mut::<4>();
        words.iter_mut().zip(values).for_each(|(word, value)| *word = value.to_le_bytes());
        hash.update(&bytes[..4 * values.len()]);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, data: &[f32]) -> NamedTensor {
        NamedTensor { name: name.into(), shape: vec![data.len()], data: data.into() }
    }

    #[test]
    fn the_digest_follows_the_weights_and_not_the_version() {
        let snapshot = |version, data: &[f32]| PolicySnapshot::new(PolicyVersion(version), vec![tensor("w", data)]);
        assert_eq!(snapshot(0, &[1.0, 2.0]).digest(), snapshot(9, &[1.0, 2.0]).digest());
        assert_ne!(snapshot(0, &[1.0, 2.0]).digest(), snapshot(0, &[1.0, 2.000_000_2]).digest());
    }

    #[test]
    fn a_digest_survives_serialisation_and_rejects_noise() {
        let digest = PolicySnapshot::digest_of(&[tensor("w", &[0.5])]);
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"xyz\"").unwrap_err().to_string().contains("64 hexadecimal"));
    }
}
