//! What training moves.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Var};

/// One variable, by its name.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Whether weight decay pulls at it: matrices decay, norms and biases do not.
    pub decays: bool,
    /// The values. A copy shares them.
    pub var: Var,
}

impl Variable {
    /// How many numbers it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.var.elem_count()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs `update` on the values, in place.
    ///
    /// # Errors
    /// If they are not f32 on the CPU.
    pub fn update(&self, update: impl FnMut(&mut [f32])) -> Result<()> {
        self.var.inplace_op1(&InPlace(RefCell::new(update)))
    }
}

struct InPlace<F>(RefCell<F>);

impl<F: FnMut(&mut [f32])> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        "update"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        match (storage, layout.contiguous_offsets()) {
            (CpuStorage::F32(values), Some((start, end))) => {
                (self.0.borrow_mut())(&mut values[start..end]);
                Ok(())
            }
            _ => candle_core::bail!("expected a contiguous f32 variable on the CPU"),
        }
    }
}
