//! The decoder on candle tensors, with gradients.

use std::sync::Arc;

use candle_core::{Device, InplaceOp1, Result, Tensor, Var};
use stateset_kernels::cpu::{Packed, Rope};

use crate::ops::{Attention, Gate, Linear, LinearAdd, LinearLogProb, RmsNorm, with_floats};
use crate::{Decoder, Executor, HostWeights, ModelConfig, decoder};

/// Sequences packed end to end, and the positions that are scored.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PackedBatch {
    /// Token ids of all sequences.
    pub tokens: Vec<u32>,
    /// Tokens of each sequence.
    pub lengths: Vec<usize>,
    /// Rows (into `tokens`) that predict a scored token.
    pub rows: Vec<u32>,
    /// The scored token of each such row.
    pub targets: Vec<u32>,
}

impl PackedBatch {
    /// Appends a sequence; token `i` is scored where `scored[i]`, predicted from what precedes it. The first is never scored: nothing
    /// precedes it. An empty sequence adds nothing.
    pub fn push(&mut self, tokens: &[u32], scored: &[bool]) {
        if tokens.is_empty() {
            return;
        }
        let start = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.lengths.push(tokens.len());
        for (i, token) in tokens.iter().enumerate().skip(1).filter(|(i, _)| scored[*i]) {
            self.rows.push((start + i - 1) as u32);
            self.targets.push(*token);
        }
    }
}

/// A trainable decoder.
pub struct Autograd {
    config: ModelConfig,
    variables: Decoder<Var>,
    rope: Arc<Rope>,
}

impl Autograd {
    /// A trainable copy of `weights`.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn new(weights: &HostWeights) -> Result<Self> {
        let config = weights.config.clone();
        let shapes = config.parameters();
        let mut shapes = shapes.iter().map(|parameter| parameter.shape.clone());
        let variables = weights.values.try_map(|values| {
            let shape = shapes.next().expect("parameters and values are in the same order");
            Var::from_slice(values, shape, &Device::Cpu)
        })?;
        let rope = Rope::new(config.max_position_embeddings, config.head_dim(), config.rope_theta);
        Ok(Self { config, variables, rope: Arc::new(rope) })
    }

    /// The shape of the decoder.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Its variables.
    #[must_use]
    pub fn variables(&self) -> &Decoder<Var> {
        &self.variables
    }

    /// A copy of the weights.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn weights(&self) -> Result<HostWeights> {
        let values = self.variables.try_map(|var| with_floats(var.as_tensor(), <[f32]>::to_vec))?;
        Ok(HostWeights { config: self.config.clone(), values })
    }

    /// The last state of every row that predicts a scored token `[scored, hidden]`, for a head to be put on.
    ///
    /// # Errors
    /// If the batch does not fit the model or the arithmetic fails.
    pub fn states(&self, batch: &PackedBatch) -> Result<Tensor> {
        let config = &self.config;
        let longest = batch.lengths.iter().copied().max().unwrap_or(0);
        if longest > config.max_position_embeddings {
            candle_core::bail!(
                "sequence of {longest} tokens exceeds the context of {}",
                config.max_position_embeddings
            );
        }
        let packed = Packed {
            lengths: batch.lengths.clone(),
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim(),
        };
        let ids = |ids: &[u32]| Tensor::from_slice(ids, ids.len(), &Device::Cpu);
        let mut pass = Pass {
            eps: config.rms_norm_eps,
            tokens: ids(&batch.tokens)?,
            rows: ids(&batch.rows)?,
            packed: Arc::new(packed),
            rope: self.rope.clone(),
        };
        decoder::states(&mut pass, &self.variables)
    }

    /// Logits `[scored, vocab]` of [`states`](Self::states).
    ///
    /// # Errors
    /// If the arithmetic fails.
    pub fn logits(&self, states: &Tensor) -> Result<Tensor> {
        states.apply_op2(self.variables.head(), Linear)
    }

    /// Log-probability (row 0) and entropy (row 1) of every scored token, nats, `[2, scored]`, under the distribution at
    /// `temperature`.
    ///
    /// # Errors
    /// If the batch does not fit the model or the arithmetic fails.
    pub fn log_probs(&self, batch: &PackedBatch, temperature: f32) -> Result<Tensor> {
        self.log_probs_of(&self.states(batch)?, batch, temperature)
    }

    /// The same, of the states of that batch. No logits outlive the call if the states are detached, or if there are many.
    ///
    /// # Errors
    /// If the arithmetic fails.
    pub fn log_probs_of(&self, states: &Tensor, batch: &PackedBatch, temperature: f32) -> Result<Tensor> {
        let (targets, again) = (batch.targets.as_slice().into(), states.track_op());
        states.apply_op2(self.variables.head(), LinearLogProb::new(targets, temperature, again))
    }

    /// Runs `update` on the values of one variable, in place.
    ///
    /// # Errors
    /// If the variable is not f32 on the CPU.
    pub fn update(variable: &Var, update: impl FnMut(&mut [f32])) -> Result<()> {
        variable.inplace_op1(&InPlace(std::cell::RefCell::new(update)))
    }
}

struct InPlace<F>(std::cell::RefCell<F>);

impl<F: FnMut(&mut [f32])> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        "update"
    }

    fn cpu_fwd(&self, storage: &mut candle_core::CpuStorage, layout: &candle_core::Layout) -> Result<()> {
        match (storage, layout.contiguous_offsets()) {
            (candle_core::CpuStorage::F32(values), Some((start, end))) => {
                (self.0.borrow_mut())(&mut values[start..end]);
                Ok(())
            }
            _ => candle_core::bail!("expected a contiguous f32 variable on the CPU"),
        }
    }
}

/// One forward pass over one packed batch.
struct Pass {
    eps: f64,
    tokens: Tensor,
    rows: Tensor,
    packed: Arc<Packed>,
    rope: Arc<Rope>,
}

impl Executor for Pass {
    type Tensor = Tensor;
    type Weight = Var;
    type Error = candle_core::Error;

    fn embed(&mut self, weight: &Var) -> Result<Tensor> {
        weight.index_select(&self.tokens, 0)
    }

    fn norm(&mut self, x: &Tensor, weight: &Var) -> Result<Tensor> {
        x.apply_op2(weight, RmsNorm::new(self.eps))
    }

    fn linear(&mut self, x: Tensor, weight: &Var) -> Result<Tensor> {
        x.apply_op2(weight, Linear)
    }

    fn linear_add(&mut self, x: Tensor, weight: &Var, residual: Tensor) -> Result<Tensor> {
        x.apply_op3(weight, &residual, LinearAdd)
    }

    fn attend(&mut self, qkv: Tensor, _layer: usize) -> Result<Tensor> {
        qkv.apply_op1(Attention::new(self.packed.clone(), self.rope.clone()))
    }

    fn gate(&mut self, gate_up: Tensor) -> Result<Tensor> {
        gate_up.apply_op1(Gate)
    }

    fn select(&mut self, x: Tensor) -> Result<Tensor> {
        x.index_select(&self.rows, 0)
    }
}
