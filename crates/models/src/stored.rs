//! Weights as they are held.

use std::borrow::Cow;

use half::bf16;
use stateset_kernels::cpu::{Numbers, narrowed};

/// Numbers in as few bytes as lose nothing: two each if bf16 holds all of them exactly, as it does those of most published models; else
/// four.
#[derive(Debug, Clone, PartialEq)]
pub enum Stored {
    /// Four bytes each.
    F32(Vec<f32>),
    /// Two.
    Bf16(Vec<bf16>),
}

impl From<Vec<f32>> for Stored {
    fn from(values: Vec<f32>) -> Self {
        narrowed(&values).map_or(Self::F32(values), Self::Bf16)
    }
}

impl Stored {
    /// To be read by kernels.
    #[must_use]
    pub fn numbers(&self) -> Numbers<'_> {
        match self {
            Self::F32(values) => Numbers::F32(values),
            Self::Bf16(values) => Numbers::Bf16(values),
        }
    }

    /// As f32, copied only if they have to be widened.
    #[must_use]
    pub fn to_f32(&self) -> Cow<'_, [f32]> {
        self.numbers().to_f32()
    }

    /// Bytes that they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::F32(values) => size_of_val(&values[..]),
            Self::Bf16(values) => size_of_val(&values[..]),
        }
    }
}
