//! `x w^T`. Weight gradients come out contiguous; candle's own product leaves a transposed one, which is
//! then added element by element.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use stateset_kernels::cpu;

use super::{floats, tensor, with_floats};

pub(crate) struct Linear;

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let ((m, k), (n, _)) = (lx.shape().dims2()?, lw.shape().dims2()?);
        let mut y = vec![0.0; m * n];
        cpu::linear(floats(x, lx)?, floats(w, lw)?, &mut y, (m, k, n));
        Ok((CpuStorage::F32(y), (m, n).into()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = gradients(x, w, dy)?;
        Ok((Some(dx), Some(dw)))
    }
}

fn gradients(x: &Tensor, w: &Tensor, dy: &Tensor) -> Result<(Tensor, Tensor)> {
    let ((m, k), (n, _)) = (x.dims2()?, w.dims2()?);
    let (mut dx, mut dw) = (vec![0.0; m * k], vec![0.0; n * k]);
    with_floats(dy, |dy| -> Result<()> {
        with_floats(w, |w| cpu::linear_input_gradient(dy, w, &mut dx, (m, k, n)))?;
        with_floats(x, |x| cpu::linear_weight_gradient(dy, x, &mut dw, (m, k, n)))
    })??;
    Ok((tensor(dx, (m, k))?, tensor(dw, (n, k))?))
}
