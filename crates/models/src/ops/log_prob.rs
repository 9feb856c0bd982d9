//! The head with selective log-softmax and entropy: states `[rows, hidden]` and weight `[vocab, hidden]` to `[2, rows]`,
//! log-probabilities above entropies. Logits exist a tile at a time, unless there are few of them and they are wanted again.
//!
//! A weight that is learnt is an argument of the operation, one that is frozen is part of it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use stateset_kernels::cpu::{self, Head, LogProb, Numbers};

use super::{floats, tensor, with_floats};
use crate::Stored;
use crate::buffers::{Buffer, Buffers};

pub(crate) struct LinearLogProb {
    targets: Arc<[u32]>,
    temperature: f32,
    soft_cap: Option<f32>,
    keep: bool,
    buffers: Buffers,
    found: OnceLock<LogProb>,
    logits: Mutex<Option<Buffer>>,
}

impl LinearLogProb {
    /// `keep` logits for a backward pass, if there are few. Without them it is right all the same, and slower. They lie in one of `buffers`.
    pub(crate) fn new(
        targets: Arc<[u32]>,
        temperature: f32,
        soft_cap: Option<f32>,
        keep: bool,
        buffers: Buffers,
    ) -> Self {
        Self { targets, temperature, soft_cap, keep, buffers, found: OnceLock::new(), logits: Mutex::new(None) }
    }

    /// The same, with a weight that is frozen.
    pub(crate) fn of_frozen(self, weight: Arc<Stored>) -> Frozen {
        Frozen { op: self, weight }
    }

    fn forward(&self, x: &CpuStorage, lx: &Layout, weight: Numbers<'_>) -> Result<(CpuStorage, Shape)> {
        let (rows, hidden) = lx.shape().dims2()?;
        let head = self.head(floats(x, lx)?, weight, hidden);
        let mut logits = self.buffers.take(head.room(self.keep));
        let found = cpu::linear_log_prob(head, &mut logits);
        let both = [found.log_prob.as_slice(), &found.entropy].concat();
        let all = logits.len() == rows * weight.len() / hidden;
        *self.kept() = (self.keep && all).then_some(logits);
        // An operation is applied once, so this is always the first value.
        let _ = self.found.set(found);
        Ok((CpuStorage::F32(both), (2, rows).into()))
    }

    /// The gradient of the states; that of the weight is added to `dw`.
    fn backward(&self, x: &Tensor, weight: Numbers<'_>, gradient: &Tensor, dw: Option<&mut [f32]>) -> Result<Tensor> {
        let found = self.found.get().expect("backward follows forward");
        let mut dx = vec![0.0; x.elem_count()];
        let (hidden, kept) = (x.dim(1)?, self.kept().take());
        with_floats(gradient, |gradient| {
            let upstream = gradient.split_at(self.targets.len());
            with_floats(x, |x| {
                let (head, made) = (self.head(x, weight, hidden), kept.is_some());
                let mut logits = kept.unwrap_or_else(|| self.buffers.take(head.room(false)));
                cpu::linear_log_prob_backward(head, found, (&mut logits, made), upstream, &mut dx, dw);
            })
        })??;
        tensor(dx, x.shape().clone())
    }

    fn head<'a>(&'a self, states: &'a [f32], weight: Numbers<'a>, hidden: usize) -> Head<'a> {
        let (temperature, soft_cap) = (self.temperature, self.soft_cap);
        Head { states, weight, targets: &self.targets, temperature, hidden, soft_cap }
    }

    /// Where kept logits lie until a backward pass uses them up.
    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Buffer>> {
        self.logits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CustomOp2 for LinearLogProb {
    fn name(&self) -> &'static str {
        "linear-log-prob"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward(x, lx, floats(w, lw)?.into())
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _found: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut dw = vec![0.0; w.elem_count()];
        let dx = with_floats(w, |w| self.backward(x, w.into(), gradient, Some(&mut dw)))??;
        Ok((Some(dx), Some(tensor(dw, w.shape().clone())?)))
    }
}

/// The operation with a frozen weight.
pub(crate) struct Frozen {
    op: LinearLogProb,
    weight: Arc<Stored>,
}

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "frozen-linear-log-prob"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> Result<(CpuStorage, Shape)> {
        self.op.forward(x, lx, self.weight.numbers())
    }

    fn bwd(&self, x: &Tensor, _found: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        self.op.backward(x, self.weight.numbers(), gradient, None).map(Some)
    }
}
