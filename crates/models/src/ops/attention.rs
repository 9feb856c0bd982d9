//! Rotary causal attention over packed sequences. Keeps the log-sum-exp of each score row for the backward pass.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use stateset_kernels::cpu::{self, Packed, Rope};

use super::{floats, tensor, with_floats};

pub(crate) struct Attention {
    packed: Arc<Packed>,
    rope: Arc<Rope>,
    lse: OnceLock<Vec<f32>>,
}

impl Attention {
    pub(crate) fn new(packed: Arc<Packed>, rope: Arc<Rope>) -> Self {
        Self { packed, rope, lse: OnceLock::new() }
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let p = &*self.packed;
        let (mut out, mut lse) = (vec![0.0; p.tokens() * p.heads * p.head_dim], vec![0.0; p.tokens() * p.heads]);
        cpu::attention(p, &self.rope, floats(qkv, layout)?, &mut out, &mut lse);
        // An operation is applied once, so this is always the first value.
        let _ = self.lse.set(lse);
        Ok((CpuStorage::F32(out), (p.tokens(), p.heads * p.head_dim).into()))
    }

    fn bwd(&self, qkv: &Tensor, out: &Tensor, dout: &Tensor) -> Result<Option<Tensor>> {
        let lse = self.lse.get().expect("backward follows forward");
        let mut dqkv = vec![0.0; qkv.elem_count()];
        with_floats(qkv, |qkv| {
            with_floats(out, |out| {
                with_floats(dout, |dout| {
                    cpu::attention_backward(&self.packed, &self.rope, qkv, out, dout, lse, &mut dqkv);
                })
            })
        })???;
        Ok(Some(tensor(dqkv, qkv.shape().clone())?))
    }
}
