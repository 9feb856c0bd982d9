//! Root-mean-square norm. Keeps the reciprocal root mean square of each row for the backward pass.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use stateset_kernels::cpu;

use super::{floats, tensor, with_floats};

pub(crate) struct RmsNorm {
    eps: f32,
    rstd: OnceLock<Vec<f32>>,
}

impl RmsNorm {
    pub(crate) fn new(eps: f64) -> Self {
        Self { eps: eps as f32, rstd: OnceLock::new() }
    }
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (floats(x, lx)?, floats(w, lw)?);
        let (mut y, mut rstd) = (vec![0.0; x.len()], vec![0.0; x.len() / w.len()]);
        cpu::rms_norm(x, w, self.eps, &mut y, &mut rstd);
        // An operation is applied once, so this is always the first value.
        let _ = self.rstd.set(rstd);
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let rstd = self.rstd.get().expect("backward follows forward");
        let (mut dx, mut dw) = (vec![0.0; x.elem_count()], vec![0.0; w.elem_count()]);
        with_floats(dy, |dy| {
            with_floats(x, |x| with_floats(w, |w| cpu::rms_norm_backward(dy, x, w, rstd, &mut dx, &mut dw)))
        })???;
        Ok((Some(tensor(dx, x.shape().clone())?), Some(tensor(dw, w.shape().clone())?)))
    }
}
