//! Mean 0, variance 1.

/// Subtracts their mean from all values and divides them by `sqrt(var + 1e-8)`, the variance being a sample's (ddof 1). Returns that mean.
pub fn whiten(values: &mut [Vec<f64>]) -> f64 {
    let (mean, spread) = moments(values.iter().flatten().map(|value| (*value, 1.0)));
    values.iter_mut().flatten().for_each(|value| *value = (*value - mean) / spread);
    mean
}

/// Mean and `sqrt(var + 1e-8)` of values that count as often as their weights say.
pub(super) fn moments(values: impl Iterator<Item = (f64, f64)> + Clone) -> (f64, f64) {
    let count: f64 = values.clone().map(|(_, weight)| weight).sum();
    let mean = values.clone().map(|(value, weight)| value * weight).sum::<f64>() / count.max(1.0);
    let squares: f64 = values.map(|(value, weight)| weight * (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0).max(1.0) + 1e-8).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitened_values_have_mean_0_and_variance_1() {
        let mut values = [vec![1.0, 2.0], vec![], vec![6.0]];
        assert_eq!(whiten(&mut values), 3.0);
        let flat = values.concat();
        assert!(flat.iter().sum::<f64>().abs() < 1e-12);
        assert!((flat.iter().map(|it| it * it).sum::<f64>() / 2.0 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn equal_values_become_0() {
        let mut values = [vec![2.0; 3]];
        whiten(&mut values);
        assert_eq!(values[0], [0.0; 3]);
    }
}
