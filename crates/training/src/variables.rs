//! What an optimizer moves: a policy's weights, and a critic's.

use candle_core::{Result, Var};
use stateset_models::Autograd;

/// One variable by name. A copy shares its values.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Its name in the optimizer's state.
    pub name: String,
    /// Whether weight decay pulls at it: matrices decay, norms and biases do not.
    pub decays: bool,
    /// The values.
    pub var: Var,
}

impl Variable {
    /// The variables of `model`, in the decoder's order.
    #[must_use]
    pub fn of(model: &Autograd) -> Vec<Self> {
        let parameters = model.config().parameters();
        let named = parameters.iter().zip(model.variables().iter());
        named.map(|(it, var)| Self { name: it.name.clone(), decays: it.is_matrix(), var: var.clone() }).collect()
    }

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
}

/// A copy of every variable's values.
pub(crate) fn read(variables: &[Variable]) -> Result<Vec<Vec<f32>>> {
    variables.iter().map(|it| it.var.flatten_all()?.to_vec1()).collect()
}

/// Sets every variable to `values`.
pub(crate) fn write(variables: &[Variable], values: &[Vec<f32>]) -> Result<()> {
    for (variable, values) in variables.iter().zip(values) {
        Autograd::update(&variable.var, |held| held.copy_from_slice(values))?;
    }
    Ok(())
}
