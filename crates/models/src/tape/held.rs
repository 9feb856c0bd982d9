//! Weights as a tape reads them.

use std::sync::Arc;

use candle_core::{Result, Tensor, Var};
use stateset_kernels::cpu::Numbers;

use crate::Stored;
use crate::buffers::Buffers;
use crate::ops::with_floats;

/// A weight's numbers: candle's if they are learnt, those that were loaded if they are not.
#[derive(Debug, Clone)]
pub(crate) enum Held {
    Learnt(Var),
    Frozen { values: Arc<Stored>, shape: Arc<[usize]> },
}

impl Held {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Learnt(var) => var.elem_count(),
            Self::Frozen { values, .. } => values.numbers().len(),
        }
    }

    /// Runs `f` on the numbers as they are held.
    pub(crate) fn read<R>(&self, f: impl FnOnce(Numbers<'_>) -> R) -> Result<R> {
        match self {
            Self::Learnt(var) => with_floats(var, |values| f(values.into())),
            Self::Frozen { values, .. } => Ok(f(values.numbers())),
        }
    }

    /// Runs `f` on part number `at` of `count` equal ones, as f32; `buffers` has room for what has to be widened.
    pub(crate) fn with_part<R>(
        &self,
        (at, count): (usize, usize),
        buffers: &Buffers,
        f: impl FnOnce(&[f32]) -> R,
    ) -> Result<R> {
        let len = self.len() / count;
        self.read(|numbers| match numbers.part(at * len..(at + 1) * len) {
            Numbers::F32(values) => f(values),
            short @ Numbers::Bf16(_) => {
                let mut wide = buffers.take(len);
                short.widen(&mut wide);
                f(&wide)
            }
        })
    }

    /// The same on all of them.
    pub(crate) fn with<R>(&self, buffers: &Buffers, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
        self.with_part((0, 1), buffers, f)
    }

    /// A tensor of them: the variable itself if they are learnt.
    pub(crate) fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::Learnt(var) => Ok(var.as_tensor().clone()),
            Self::Frozen { values, shape } => {
                Tensor::from_vec(values.to_f32().into_owned(), &shape[..], &candle_core::Device::Cpu)
            }
        }
    }
}
