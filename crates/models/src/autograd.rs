//! The decoder with gradients.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Result, Tensor, Var};
use stateset_kernels::cpu::{self, Packed, Rope};

use stateset_domain::{NamedTensor, Stream};

use crate::adapter::{Adapted, HostAdapter};
use crate::buffers::{Buffer, Buffers};
use crate::ops::{Linear, with_floats};
use crate::tape::{Held, Keep, Pass, Tape, Weight};
use crate::{
    Decoder, HostWeights, ModelConfig, PackedBatch, Parameter, Recording, Stored, Variable, executor, recording,
};

/// A decoder that learns, or that has learnt.
///
/// States and scores come from a tape of our own, which is walked back by [`Recording::backward`]. Any other head on the states is a
/// matter of candle's, which says what gradient they have.
pub struct Autograd {
    config: Arc<ModelConfig>,
    weights: Decoder<Held>,
    adapter: Option<Adapted>,
    ropes: Mutex<Arc<[Rope]>>,
    buffers: Buffers,
    checkpoints: bool,
}

impl Autograd {
    /// A copy of `weights` that learns. It is f32, whatever they are held as.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn new(weights: &HostWeights) -> Result<Self> {
        let learnt = |values: &Arc<Stored>, shape: &[usize]| {
            Ok(Held::Learnt(Var::from_slice(&values.to_f32(), shape, &Device::Cpu)?))
        };
        Self::holding(weights, learnt)
    }

    /// `weights` themselves, in memory that is shared: nothing of them is learnt.
    #[must_use]
    pub fn frozen(weights: &HostWeights) -> Self {
        let frozen = |values: &Arc<Stored>, shape: &[usize]| -> std::result::Result<Held, Infallible> {
            Ok(Held::Frozen { values: values.clone(), shape: shape.into() })
        };
        let Ok(frozen) = Self::holding(weights, frozen);
        frozen
    }

    fn holding<E>(
        weights: &HostWeights,
        hold: impl Fn(&Arc<Stored>, &[usize]) -> std::result::Result<Held, E>,
    ) -> std::result::Result<Self, E> {
        let config = weights.config.clone();
        let shapes = config.parameters();
        let mut shapes = shapes.iter().map(|parameter| parameter.shape.as_slice());
        let weights = weights
            .values
            .try_map(|values| hold(values, shapes.next().expect("parameters and values are in the same order")))?;
        let ropes = Mutex::new(config.ropes(0).into());
        let (config, buffers) = (Arc::new(config), Buffers::default());
        Ok(Self { config, weights, adapter: None, ropes, buffers, checkpoints: false })
    }

    /// `weights`, [frozen](Self::frozen), with `adapter` on them, which is what is learnt.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn adapted(weights: &HostWeights, adapter: HostAdapter) -> Result<Self> {
        Ok(Self { adapter: Some(Adapted::new(adapter)?), ..Self::frozen(weights) })
    }

    /// The variables that are learnt: those of the adapter if there is one; of all weights if there is none, unless they are frozen.
    /// Gradients are in this order.
    #[must_use]
    pub fn learnt(&self) -> Vec<Variable> {
        if let Some(adapted) = &self.adapter {
            return adapted.variables();
        }
        let parameters = self.config.parameters();
        let variable = |(it, held): (&Parameter, &Held)| match held {
            Held::Learnt(var) => Some(Variable { name: it.name.clone(), decays: it.is_matrix(), var: var.clone() }),
            Held::Frozen { .. } => None,
        };
        parameters.iter().zip(self.weights.iter()).filter_map(variable).collect()
    }

    /// A copy of the adapter, if there is one.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn adapter(&self) -> Result<Option<HostAdapter>> {
        self.adapter.as_ref().map(Adapted::now).transpose()
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

    /// What there is to be learnt as tensors, by their Hugging Face names: the factors of an adapter if there is one, all weights if there is
    /// none.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn tensors(&self) -> Result<Vec<NamedTensor>> {
        if let Some(adapter) = self.adapter()? {
            return Ok(adapter.to_tensors());
        }
        let mut tensors = Vec::new();
        for (parameter, held) in self.config.parameters().iter().zip(self.weights.iter()) {
            tensors.extend(held.with(&self.buffers, |values| parameter.tensors(values))?);
        }
        Ok(tensors)
    }

    /// The last state of every row that predicts a scored token `[scored, hidden]`. No gradient leads through it.
    ///
    /// # Errors
    /// If the batch does not fit the model or the arithmetic fails.
    pub fn states(&self, batch: &PackedBatch) -> Result<Tensor> {
        let (_, states) = self.run(batch, Keep::Nothing, &self.weights_to_walk(None))?;
        Tensor::from_slice(&states, (batch.rows.len(), self.config.hidden_size), &Device::Cpu)
    }

    /// The same, for a walk back.
    ///
    /// # Errors
    /// If the batch does not fit the model or the arithmetic fails.
    pub fn record(&self, batch: &PackedBatch) -> Result<Recording> {
        self.record_dropping(batch, None)
    }

    /// The same, where the adapter, if it has dropout, leaves out of its inputs what is drawn from `draws`.
    ///
    /// # Errors
    /// If the batch does not fit the model or the arithmetic fails.
    pub fn record_dropping(&self, batch: &PackedBatch, draws: Option<Stream>) -> Result<Recording> {
        let keep = if self.checkpoints { Keep::Blocks } else { Keep::Everything };
        let weights = self.weights_to_walk(draws);
        let (tape, states) = self.run(batch, keep, &weights)?;
        Ok(Recording::new(states, weights.head().clone(), tape))
    }

    fn run(&self, batch: &PackedBatch, keep: Keep, weights: &Decoder<Weight>) -> Result<(Tape, Arc<Buffer>)> {
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
        let (config, buffers) = (self.config.clone(), self.buffers.clone());
        let pass = Pass { batch: batch.clone(), packed, ropes: self.ropes(longest), config, buffers };
        let mut tape = Tape::new(pass, keep);
        let states = executor::states(&mut tape, weights)?;
        let states = tape.finish(states);
        Ok((tape, states))
    }

    /// The weights as a tape takes them.
    fn weights_to_walk(&self, draws: Option<Stream>) -> Decoder<Weight> {
        let mut at = 0..;
        let Ok(weights) = self.weights.try_map(|held| {
            let at = at.next().unwrap_or_default();
            let sum = matches!(held, Held::Learnt(_)).then_some(at);
            let adapters = self.adapter.iter().flat_map(|adapted| adapted.of(at, draws)).collect();
            Ok::<_, Infallible>(Weight { sum, values: held.clone(), adapters })
        });
        weights
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
        let logits = states.apply_op2(&self.weights.head().tensor()?, Linear)?;
        let Some(cap) = self.config.logit_soft_cap else { return Ok(logits) };
        (logits / f64::from(cap))?.tanh()? * f64::from(cap)
    }

    /// Log-probability and entropy of every scored token, nats, under the distribution at `temperature`.
    ///
    /// # Errors
    /// If the batch does not fit the model or the arithmetic fails.
    pub fn log_probs(&self, batch: &PackedBatch, temperature: f32) -> Result<[Vec<f32>; 2]> {
        let (_, states) = self.run(batch, Keep::Nothing, &self.weights_to_walk(None))?;
        self.scores(&states, batch, temperature)
    }

    /// The same, of the [`states`](Self::states) of that batch.
    ///
    /// # Errors
    /// If the arithmetic fails.
    pub fn log_probs_of(&self, states: &Tensor, batch: &PackedBatch, temperature: f32) -> Result<[Vec<f32>; 2]> {
        with_floats(states, |states| self.scores(states, batch, temperature))?
    }

    fn scores(&self, states: &[f32], batch: &PackedBatch, temperature: f32) -> Result<[Vec<f32>; 2]> {
        let found = self.weights.head().read(|weight| {
            let head = recording::head(&self.config, batch, (states, weight), temperature);
            cpu::linear_log_prob(head, &mut self.buffers.take(head.room(false)))
        })?;
        Ok([found.log_prob, found.entropy])
    }
}
