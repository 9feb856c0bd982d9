//! A head that says what is to be expected, in place of what comes next.

use candle_core::{Device, Result, Tensor, Var};

use crate::ops::Linear;

/// One number from every state: `states w^T + b`. It begins at 0, and so expects nothing.
#[derive(Debug, Clone)]
pub struct ValueHead {
    /// `[1, hidden]`.
    pub weight: Var,
    /// `[1]`.
    pub bias: Var,
}

impl ValueHead {
    /// A head for states of so many numbers.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn new(hidden: usize) -> Result<Self> {
        let zeros = |shape: &[usize]| Var::zeros(shape, candle_core::DType::F32, &Device::Cpu);
        Ok(Self { weight: zeros(&[1, hidden])?, bias: zeros(&[1])? })
    }

    /// The value of every state `[states, hidden]` to `[states]`.
    ///
    /// # Errors
    /// If the arithmetic fails.
    pub fn values(&self, states: &Tensor) -> Result<Tensor> {
        states.apply_op2(&self.weight, Linear)?.squeeze(1)?.broadcast_add(&self.bias)
    }
}
