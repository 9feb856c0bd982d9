//! The head with selective log-softmax and entropy: states `[rows, hidden]` and weight `[vocab, hidden]` to `[2, rows]`,
//! log-probabilities above entropies. Logits exist a tile at a time, unless there are few of them and they are wanted again.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use stateset_kernels::cpu::{self, Head, LogProb};

use super::{floats, tensor, with_floats};

pub(crate) struct LinearLogProb {
    targets: Arc<[u32]>,
    temperature: f32,
    soft_cap: Option<f32>,
    keep: bool,
    frozen: bool,
    found: OnceLock<LogProb>,
    logits: Mutex<Option<Vec<f32>>>,
}

impl LinearLogProb {
    /// `keep` logits for a backward pass, if there are few. Without them it is right all the same, and slower.
    pub(crate) fn new(targets: Arc<[u32]>, temperature: f32, soft_cap: Option<f32>, keep: bool) -> Self {
        Self { targets, temperature, soft_cap, keep, frozen: false, found: OnceLock::new(), logits: Mutex::new(None) }
    }

    /// The same, that finds no gradient of the weight.
    pub(crate) fn of_frozen_weight(self) -> Self {
        Self { frozen: true, ..self }
    }

    fn head<'a>(&'a self, states: &'a [f32], weight: &'a [f32], hidden: usize) -> Head<'a> {
        let (temperature, soft_cap) = (self.temperature, self.soft_cap);
        Head { states, weight, targets: &self.targets, temperature, hidden, soft_cap }
    }

    /// Where kept logits lie until a backward pass uses them up.
    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Vec<f32>>> {
        self.logits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CustomOp2 for LinearLogProb {
    fn name(&self) -> &'static str {
        "linear-log-prob"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, hidden) = lx.shape().dims2()?;
        let (found, logits) = cpu::linear_log_prob(self.head(floats(x, lx)?, floats(w, lw)?, hidden), self.keep);
        let both = [found.log_prob.as_slice(), &found.entropy].concat();
        *self.kept() = logits;
        // An operation is applied once, so this is always the first value.
        let _ = self.found.set(found);
        Ok((CpuStorage::F32(both), (2, rows).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _found: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let found = self.found.get().expect("backward follows forward");
        let mut dx = vec![0.0; x.elem_count()];
        let mut dw = (!self.frozen).then(|| vec![0.0; w.elem_count()]);
        let (hidden, kept) = (x.dim(1)?, self.kept().take());
        with_floats(gradient, |gradient| {
            let upstream = gradient.split_at(self.targets.len());
            with_floats(x, |x| {
                with_floats(w, |w| {
                    let head = self.head(x, w, hidden);
                    cpu::linear_log_prob_backward(head, found, kept, upstream, &mut dx, dw.as_deref_mut());
                })
            })
        })???;
        let dw = dw.map(|dw| tensor(dw, w.shape().clone())).transpose()?;
        Ok((Some(tensor(dx, x.shape().clone())?), dw))
    }
}
