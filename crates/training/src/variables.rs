//! The values of what an optimizer moves: a policy's weights, and a critic's.

use candle_core::Result;
use stateset_models::Variable;

/// A copy of every variable's values.
pub(crate) fn read(variables: &[Variable]) -> Result<Vec<Vec<f32>>> {
    variables.iter().map(|it| it.var.flatten_all()?.to_vec1()).collect()
}

/// Sets every variable to `values`.
pub(crate) fn write(variables: &[Variable], values: &[Vec<f32>]) -> Result<()> {
    for (variable, values) in variables.iter().zip(values) {
        variable.update(|held| held.copy_from_slice(values))?;
    }
    Ok(())
}
