//! Selective log-softmax with entropy: `[rows, vocab]` logits to `[2, rows]`, log-probabilities above entropies.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use stateset_kernels::cpu::{self, LogProb};

use super::{floats, tensor, with_floats};

pub(crate) struct SelectiveLogSoftmax {
    targets: Arc<[u32]>,
    temperature: f32,
    found: OnceLock<LogProb>,
}

impl SelectiveLogSoftmax {
    pub(crate) fn new(targets: Arc<[u32]>, temperature: f32) -> Self {
        Self { targets, temperature, found: OnceLock::new() }
    }
}

impl CustomOp1 for SelectiveLogSoftmax {
    fn name(&self) -> &'static str {
        "selective-log-softmax"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, vocab) = layout.shape().dims2()?;
        let found = cpu::log_prob(floats(logits, layout)?, &self.targets, self.temperature, vocab);
        let both = [found.log_prob.as_slice(), &found.entropy].concat();
        // An operation is applied once, so this is always the first value.
        let _ = self.found.set(found);
        Ok((CpuStorage::F32(both), (2, rows).into()))
    }

    fn bwd(&self, logits: &Tensor, _found: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let found = self.found.get().expect("backward follows forward");
        let mut d_logits = vec![0.0; logits.elem_count()];
        with_floats(gradient, |gradient| {
            let parts = gradient.split_at(self.targets.len());
            with_floats(logits, |logits| {
                cpu::log_prob_backward(logits, &self.targets, self.temperature, found, parts, &mut d_logits);
            })
        })??;
        Ok(Some(tensor(d_logits, logits.shape().clone())?))
    }
}
