//! Weights to be read, in four bytes each or in two.
//!
//! Arithmetic is f32. A weight that came as bf16 (the upper half of an f32, which is what most models are published in) is held in two
//! bytes and widened where it is read, a block at a time, which loses nothing: products are the same to the bit either way.

use std::borrow::Cow;
use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::simd::multiversion;

/// Numbers that a task widens or looks through.
const CHUNK: usize = 1 << 15;

/// Numbers that are only read.
#[derive(Debug, Clone, Copy)]
pub enum Numbers<'a> {
    /// Four bytes each.
    F32(&'a [f32]),
    /// Two.
    Bf16(&'a [bf16]),
}

impl<'a> From<&'a [f32]> for Numbers<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self::F32(values)
    }
}

impl<'a> From<&'a Vec<f32>> for Numbers<'a> {
    fn from(values: &'a Vec<f32>) -> Self {
        Self::F32(values)
    }
}

impl<'a> Numbers<'a> {
    /// How many there are.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Those in `range`.
    ///
    /// # Panics
    /// If it goes beyond them.
    #[must_use]
    pub fn part(self, range: Range<usize>) -> Self {
        match self {
            Self::F32(values) => Self::F32(&values[range]),
            Self::Bf16(values) => Self::Bf16(&values[range]),
        }
    }

    /// Whether bf16 holds every one of them exactly.
    #[must_use]
    pub fn are_bf16(self) -> bool {
        match self {
            Self::F32(values) => {
                values.par_chunks(CHUNK).all(|values| values.iter().all(|x| x.to_bits().trailing_zeros() >= 16))
            }
            Self::Bf16(_) => true,
        }
    }

    /// Writes them to `out` as f32.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn widen(self, out: &mut [f32]) {
        match self {
            Self::F32(values) => out.copy_from_slice(values),
            Self::Bf16(values) => {
                assert_eq!(values.len(), out.len(), "numbers to widen");
                values.par_chunks(CHUNK).zip(out.par_chunks_mut(CHUNK)).for_each(|(values, out)| widen(values, out));
            }
        }
    }

    /// The same, copied only if they have to be widened.
    #[must_use]
    pub fn to_f32(self) -> Cow<'a, [f32]> {
        match self {
            Self::F32(values) => Cow::Borrowed(values),
            Self::Bf16(values) => {
                let mut out = vec![0.0; values.len()];
                self.widen(&mut out);
                Cow::Owned(out)
            }
        }
    }
}

multiversion! {
    /// `out = values`.
    pub(crate) fn widen(values: &[bf16], out: &mut [f32]) {
        values.iter().zip(out).for_each(|(x, out)| *out = wide(*x));
    }
}

/// `x` as f32. By hand: the conversion of the library asks for a NaN, which a mere shift has no need to.
#[inline(always)]
pub(crate) fn wide(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}

/// `x` in half its bytes, of an `x` that [is bf16](Numbers::are_bf16).
pub(crate) fn narrow(x: f32) -> bf16 {
    bf16::from_bits((x.to_bits() >> 16) as u16)
}

/// All of `values` in half their bytes if that loses nothing.
#[must_use]
pub fn narrowed(values: &[f32]) -> Option<Vec<bf16>> {
    Numbers::from(values).are_bf16().then(|| values.par_iter().map(|x| narrow(*x)).collect())
}
