//! The decoder with gradients.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{Device, InplaceOp1, Result, Tensor, Var};
use stateset_kernels::cpu::{Packed, Rope};

use crate::buffers::Buffers;
use crate::ops::{Linear, LinearLogProb, with_floats};
use crate::tape::{Keep, Pass, Tape, Weight};
use crate::{Decoder, HostWeights, ModelConfig, PackedBatch, executor};

/// A trainable decoder.
///
/// States come from a tape of our own, which is walked back by [`Recording::backward`]. What is put on the states (a head, a loss) is
/// a matter of candle's, which says what gradient they have.
pub struct Autograd {
    config: Arc<ModelConfig>,
    variables: Decoder<Var>,
    ropes: Mutex<Arc<[Rope]>>,
    buffers: Buffers,
    checkpoints: bool,
}

/// The states of a batch, and how they came about.
pub struct Recording {
    states: Var,
    tape: Tape,
    buffers: Buffers,
}

impl Recording {
    /// The last state of every row that predicts a scored token `[scored, hidden]`, for a head to be put on.
    #[must_use]
    pub fn states(&self) -> &Tensor {
        self.states.as_tensor()
    }

    /// Adds to `sums`, one for each of the decoder's weights in their order, what the gradient of the states in `found` comes to. A
    /// gradient that `found` has of a weight itself, by a head that is the embedding, is left to the caller. Any number of times.
    ///
    /// # Errors
    /// If the arithmetic fails.
    ///
    /// # Panics
    /// If `sums` are not of the weights' sizes.
    pub fn backward(&self, found: &GradStore, sums: &mut [Vec<f32>]) -> Result<()> {
        let Some(gradient) = found.get(self.states()) else { return Ok(()) };
        let gradient = with_floats(gradient, |gradient| self.buffers.copy(gradient))?;
        self.tape.backward(gradient, sums).map(|_| ())
    }
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
        let ropes = Mutex::new(config.ropes(0).into());
        Ok(Self { config: Arc::new(config), variables, ropes, buffers: Buffers::default(), checkpoints: false })
    }

    /// The same, that takes turns with `other` in using its memory, and keeps as much of it.
    #[must_use]
    pub fn like(self, other: &Self) -> Self {
        Self { buffers: other.buffers.clone(), checkpoints: other.checkpoints, ..self }
    }

    /// The same, that keeps only the input of each block while it records, and runs the block again on the way back
    /// (Chen et al., arXiv:1604.06174): a third more arithmetic, the same gradient bit by bit.
    #[must_use]
    pub fn checkpointing(self, checkpoints: bool) -> Self {
        Self { checkpoints, ..self }
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
        Ok(HostWeights { config: ModelConfig::clone(&self.config), values })
    }

    /// The last state of every row that predicts a scored token `[scored, hidden]`. No gradient leads through it.
    ///
    /// # Errors
    /// If the batch does not fit the model or the arithmetic fails.
    pub fn states(&self, batch: &PackedBatch) -> Result<Tensor> {
        let (_, states) = self.run(batch, Keep::Nothing)?;
        Ok(states)
    }

    /// The same, for a walk back.
    ///
    /// # Errors
    /// If the batch does not fit the model or the arithmetic fails.
    pub fn record(&self, batch: &PackedBatch) -> Result<Recording> {
        let keep = if self.checkpoints { Keep::Blocks } else { Keep::Everything };
        let (tape, states) = self.run(batch, keep)?;
        Ok(Recording { states: Var::from_tensor(&states)?, tape, buffers: self.buffers.clone() })
    }

    fn run(&self, batch: &PackedBatch, keep: Keep) -> Result<(Tape, Tensor)> {
        let config = &self.config;
        let (longest, context) = (batch.longest(), config.max_position_embeddings);
        if longest > context {
            candle_core::bail!("sequence of {longest} tokens exceeds the context of {context}");
        }
        let known = config.vocab_size as u32;
        if let Some(stray) = batch.tokens.iter().chain(&batch.targets).find(|token| **token >= known) {
            candle_core::bail!("token {stray} exceeds the vocabulary of {known}");
        }
        let packed = Packed {
            segments: batch.segments.clone(),
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
        };
        let pass = Pass { batch: batch.clone(), packed, ropes: self.ropes(longest), config: self.config.clone() };
        let mut indices = 0..;
        let weights = self.variables.try_map(|var| {
            let sum = indices.next();
            Ok::<_, candle_core::Error>(Weight { sum, var: var.clone(), adapters: [].into() })
        })?;
        let mut tape = Tape::new(pass, self.buffers.clone(), keep);
        let states = executor::states(&mut tape, &weights)?;
        let states = tape.finish(states);
        let states = Tensor::from_slice(&states, (batch.rows.len(), config.hidden_size), &Device::Cpu)?;
        Ok((tape, states))
    }

    /// Tables of at least so many positions. They grow with what is asked: contexts are often far longer than any sequence.
    fn ropes(&self, positions: usize) -> Arc<[Rope]> {
        let mut held = self.ropes.lock().unwrap_or_else(PoisonError::into_inner);
        if held.iter().any(|rope| rope.positions() < positions) {
            *held = self.config.ropes(positions.next_power_of_two()).into();
        }
        held.clone()
    }

    /// Logits `[scored, vocab]` of [`states`](Self::states).
    ///
    /// # Errors
    /// If the arithmetic fails.
    pub fn logits(&self, states: &Tensor) -> Result<Tensor> {
        let logits = states.apply_op2(self.variables.head(), Linear)?;
        let Some(cap) = self.config.logit_soft_cap else { return Ok(logits) };
        (logits / f64::from(cap))?.tanh()? * f64::from(cap)
    }

    /// Log-probability (row 0) and entropy (row 1) of every scored token, nats, `[2, scored]`, under the distribution at
    /// `temperature`. No gradient leads through the states.
    ///
    /// # Errors
    /// If the batch does not fit the model or the arithmetic fails.
    pub fn log_probs(&self, batch: &PackedBatch, temperature: f32) -> Result<Tensor> {
        self.log_probs_of(&self.states(batch)?, batch, temperature)
    }

    /// The same, of the [`states`](Self::states) of that batch or of what was [recorded](Self::record) of it. No logits outlive the call
    /// if no gradient is asked of the states, or if there are many.
    ///
    /// # Errors
    /// If the arithmetic fails.
    pub fn log_probs_of(&self, states: &Tensor, batch: &PackedBatch, temperature: f32) -> Result<Tensor> {
        let (targets, again) = (batch.targets.as_slice().into(), states.track_op());
        states.apply_op2(
            self.variables.head(),
            LinearLogProb::new(targets, temperature, self.config.logit_soft_cap, again),
        )
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
