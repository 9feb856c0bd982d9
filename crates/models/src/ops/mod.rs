//! Heads: the CPU kernels as candle operations with gradients, on the states that a [`Tape`](crate::tape::Tape) finds.
//!
//! candle's own fused operations cut the graph silently, and composing primitive ones costs several times the memory traffic.

mod linear;

use candle_core::{CpuStorage, Device, Layout, Result, Shape, Storage, Tensor};

pub(crate) use linear::Linear;

/// The values of a contiguous f32 tensor on the CPU.
pub(crate) fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => candle_core::bail!("expected a contiguous f32 tensor on the CPU"),
    }
}

/// Runs `f` on the values of `tensor`.
pub(crate) fn with_floats<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(f(floats(storage, layout)?)),
        _ => candle_core::bail!("expected a tensor on the CPU"),
    }
}

fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}
