//! Gradients summed over micro-batches, in a fixed order.

use stateset_kernels::cpu::sum_of_squares;

use crate::HostWeights;

/// One gradient per weight, in the decoder's order.
#[derive(Debug, Clone)]
pub struct Gradients {
    pub(crate) values: Vec<Vec<f32>>,
}

impl Gradients {
    /// All zero, for these weights.
    #[must_use]
    pub fn zeros(weights: &HostWeights) -> Self {
        Self { values: weights.values.iter().map(|values| vec![0.0; values.len()]).collect() }
    }

    /// The gradients, in the decoder's order.
    #[must_use]
    pub fn values(&self) -> &[Vec<f32>] {
        &self.values
    }

    /// L2 norm over all of them; not finite if any value is not.
    #[must_use]
    pub fn norm(&self) -> f64 {
        self.values.iter().map(|values| sum_of_squares(values)).sum::<f64>().sqrt()
    }
}
