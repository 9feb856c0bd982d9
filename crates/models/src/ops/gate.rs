//! SwiGLU on rows that hold gate and up side by side.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use stateset_kernels::cpu;

use super::{floats, tensor, with_floats};

pub(crate) struct Gate;

impl CustomOp1 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = lx.shape().dims2()?;
        let mut y = vec![0.0; rows * width / 2];
        cpu::gate(floats(x, lx)?, &mut y, width / 2);
        Ok((CpuStorage::F32(y), (rows, width / 2).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let mut dx = vec![0.0; x.elem_count()];
        let width = x.dim(1)? / 2;
        with_floats(dy, |dy| with_floats(x, |x| cpu::gate_backward(dy, x, &mut dx, width)))??;
        Ok(Some(tensor(dx, x.shape().clone())?))
    }
}
