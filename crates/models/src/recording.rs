//! What scoring a batch leaves behind, and the way back through it.

use std::cell::OnceCell;
use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Tensor, Var};
use stateset_kernels::cpu::{self, Head, LogProb, Numbers};

use crate::buffers::Buffer;
use crate::ops::with_floats;
use crate::tape::{Tape, Weight, join};
use crate::{ModelConfig, PackedBatch};

/// The states of a batch, and how they came about.
///
/// What pulls at the states is gathered first: gradients of what the model's own head [scores](Self::score), and of any other head that
/// candle was given the [states](Self::states) for. Then it goes [all the way back](Self::backward).
pub struct Recording {
    states: Arc<Buffer>,
    /// The same as candle's, once a head of candle's was asked for.
    var: OnceCell<Var>,
    head: Weight,
    tape: Tape,
    scored: Option<Scored>,
    /// The gradient of the states, as far as it was gathered.
    pulled: Option<Buffer>,
}

/// What the head made of the states, and the logits of it if there are few.
struct Scored {
    found: LogProb,
    temperature: f32,
    logits: Option<Buffer>,
}

impl Recording {
    pub(crate) fn new(states: Arc<Buffer>, head: Weight, tape: Tape) -> Self {
        Self { states, var: OnceCell::new(), head, tape, scored: None, pulled: None }
    }

    /// The same, of which nothing was asked yet. Both share what they hold.
    #[must_use]
    pub fn again(&self) -> Self {
        let again = Self::new(self.states.clone(), self.head.clone(), self.tape.clone());
        Self { var: self.var.clone(), ..again }
    }

    /// The last state of every row that predicts a scored token `[scored, hidden]`, for a head to be put on.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn states(&self) -> Result<&Tensor> {
        if self.var.get().is_none() {
            let width = self.tape.pass().config.hidden_size;
            let var = Var::from_slice(&self.states, (self.states.len() / width, width), &Device::Cpu)?;
            let _ = self.var.set(var);
        }
        Ok(self.var.get().expect("it was just set").as_tensor())
    }

    /// Log-probability and entropy of every scored token, nats, under the distribution at `temperature`.
    ///
    /// # Errors
    /// If the arithmetic fails.
    pub fn score(&mut self, temperature: f32) -> Result<[Vec<f32>; 2]> {
        let pass = self.tape.pass();
        let (found, logits) = self.head.values.read(|weight| {
            let head = head(&pass.config, &pass.batch, (&self.states, weight), temperature);
            let mut logits = pass.buffers.take(head.room(true));
            (cpu::linear_log_prob(head, &mut logits), head.all_fit(&logits).then_some(logits))
        })?;
        let scores = [found.log_prob.clone(), found.entropy.clone()];
        self.scored = Some(Scored { found, temperature, logits });
        Ok(scores)
    }

    /// Adds to the gradient of the states what gradients of the log-probabilities and entropies that were [scored](Self::score) last come
    /// to, and to `sums`, one for each of the decoder's weights in their order, what they come to in the head.
    ///
    /// # Errors
    /// If the arithmetic fails.
    ///
    /// # Panics
    /// If nothing was scored since, there are not as many gradients as scored tokens, or `sums` are not of the weights' sizes.
    pub fn pull_scores(&mut self, gradients: (&[f32], &[f32]), sums: &mut [Vec<f32>]) -> Result<()> {
        let Scored { found, temperature, logits } = self.scored.take().expect("what pulls was scored");
        let pass = self.tape.pass();
        let mut d_states = pass.buffers.take(self.states.len());
        let d_weight = self.head.sum.map(|sum| sums[sum].as_mut_slice());
        self.head.values.read(|weight| {
            let head = head(&pass.config, &pass.batch, (&self.states, weight), temperature);
            let (made, room) = (logits.is_some(), head.room(false));
            let mut logits = logits.unwrap_or_else(|| pass.buffers.take(room));
            cpu::linear_log_prob_backward(head, &found, (&mut logits, made), gradients, &mut d_states, d_weight);
        })?;
        join(&mut self.pulled, d_states);
        Ok(())
    }

    /// Adds to the gradient of the states what `found` has of it, which is taken out of there.
    ///
    /// # Errors
    /// If it is not f32 on the CPU.
    pub fn pull_states(&mut self, found: &mut GradStore) -> Result<()> {
        if let Some(gradient) = self.var.get().and_then(|states| found.remove(states)) {
            let gradient = with_floats(&gradient, |gradient| self.tape.pass().buffers.copy(gradient))?;
            join(&mut self.pulled, gradient);
        }
        Ok(())
    }

    /// Adds to `sums` what the gradient of the states comes to in all that led to them.
    ///
    /// What was kept for the way back is let go of on the way, unless it is [shared](Self::again).
    ///
    /// # Errors
    /// If the arithmetic fails.
    ///
    /// # Panics
    /// If `sums` are not of the weights' sizes.
    pub fn backward(self, sums: &mut [Vec<f32>]) -> Result<()> {
        match self.pulled {
            None => Ok(()),
            Some(pulled) => self.tape.backward(pulled, sums).map(|_| ()),
        }
    }
}

/// The head of a decoder of shape `config` on the states of `batch`.
pub(crate) fn head<'a>(
    config: &ModelConfig,
    batch: &'a PackedBatch,
    (states, weight): (&'a [f32], Numbers<'a>),
    temperature: f32,
) -> Head<'a> {
    let (hidden, soft_cap) = (config.hidden_size, config.logit_soft_cap);
    Head { states, weight, targets: &batch.targets, temperature, hidden, soft_cap }
}
