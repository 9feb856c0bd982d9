//! The rewards of a group.

/// Keeps the division finite; small against any reward difference that matters.
pub(super) const EPSILON: f64 = 1e-4;

pub(super) fn mean(rewards: &[f64]) -> f64 {
    rewards.iter().sum::<f64>() / rewards.len() as f64
}

/// The sample's standard deviation (ddof 1); 0 for fewer than two.
pub(super) fn sample_std(rewards: &[f64]) -> f64 {
    if rewards.len() < 2 {
        return 0.0;
    }
    let mean = mean(rewards);
    let squares: f64 = rewards.iter().map(|reward| (reward - mean).powi(2)).sum();
    (squares / (rewards.len() as f64 - 1.0)).sqrt()
}

/// Whether all rewards of a group are equal, so that there is nothing to compare.
pub(super) fn is_flat(rewards: &[f64]) -> bool {
    rewards.windows(2).all(|pair| pair[0] == pair[1])
}
