//! Gradients summed over micro-batches, in plain memory and in a fixed order.

use candle_core::backprop::GradStore;
use candle_core::{Result, Storage};
use rayon::prelude::*;
use stateset_kernels::cpu::sum_of_squares;

use crate::Variable;

/// One gradient per variable, in their order.
#[derive(Debug, Clone)]
pub struct Gradients {
    values: Vec<Vec<f32>>,
}

impl Gradients {
    /// All zero.
    #[must_use]
    pub fn zeros(variables: &[Variable]) -> Self {
        Self { values: variables.iter().map(|variable| vec![0.0; variable.len()]).collect() }
    }

    /// Back to zero.
    pub(crate) fn clear(&mut self) {
        self.values.par_iter_mut().for_each(|values| values.fill(0.0));
    }

    /// The sums, for a [`Recording`](stateset_models::Recording) to add to.
    pub fn sums(&mut self) -> &mut [Vec<f32>] {
        &mut self.values
    }

    /// Adds what one backward pass found of `variables`, and takes it out of `found`. Variables it did not reach add nothing.
    ///
    /// # Errors
    /// If a gradient is not f32 on the CPU.
    pub fn add(&mut self, variables: &[Variable], found: &mut GradStore) -> Result<()> {
        for (sum, variable) in self.values.iter_mut().zip(variables) {
            let Some(gradient) = found.remove(variable.var.as_tensor()) else { continue };
            let gradient = gradient.contiguous()?;
            let (storage, layout) = gradient.storage_and_layout();
            let (Storage::Cpu(candle_core::CpuStorage::F32(values)), Some((start, end))) =
                (&*storage, layout.contiguous_offsets())
            else {
                candle_core::bail!("expected an f32 gradient on the CPU")
            };
            sum.iter_mut().zip(&values[start..end]).for_each(|(sum, value)| *sum += value);
        }
        Ok(())
    }

    /// Makes one of the values no number.
    pub(crate) fn spoil(&mut self) {
        if let Some(value) = self.values.first_mut().and_then(|values| values.first_mut()) {
            *value = f32::NAN;
        }
    }

    /// The gradients, in the variables' order.
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
