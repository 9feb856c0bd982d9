//! AdamW (Loshchilov & Hutter, arXiv:1711.05101), with weight decay multiplied by the learning rate as in PyTorch.
//!
//! ```text
//! m <- b1 m + (1 - b1) g         m' = m / (1 - b1^step)
//! v <- b2 v + (1 - b2) g^2       v' = v / (1 - b2^step)
//! w <- w - lr (decay w + m' / (sqrt(v') + epsilon))
//! ```

/// Constants of one update.
#[derive(Debug, Clone, Copy)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f64,
    /// Decay `b1` of the gradient average.
    pub beta1: f64,
    /// Decay `b2` of the squared-gradient average.
    pub beta2: f64,
    /// Keeps the division finite.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Updates made with this state, this one included; from 1.
    pub step: u64,
}

/// Updates `parameter[n]` and its averages `m[n]`, `v[n]` from `gradient[n]`.
pub fn adamw(parameter: &mut [f64], gradient: &[f64], m: &mut [f64], v: &mut [f64], with: AdamW) {
    let AdamW { lr, beta1, beta2, epsilon, weight_decay, step } = with;
    for i in 0..parameter.len() {
        m[i] = beta1 * m[i] + (1.0 - beta1) * gradient[i];
        v[i] = beta2 * v[i] + (1.0 - beta2) * gradient[i].powi(2);
        let mean = m[i] / (1.0 - beta1.powf(step as f64));
        let square = v[i] / (1.0 - beta2.powf(step as f64));
        parameter[i] -= lr * (weight_decay * parameter[i] + mean / (square.sqrt() + epsilon));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: AdamW = AdamW { lr: 0.1, beta1: 0.9, beta2: 0.99, epsilon: 0.0, weight_decay: 0.0, step: 1 };

    #[test]
    fn a_first_step_is_one_learning_rate_against_the_sign_of_the_gradient() {
        let (mut w, mut m, mut v) = ([1.0, 1.0], [0.0; 2], [0.0; 2]);
        adamw(&mut w, &[1e-3, -50.0], &mut m, &mut v, PLAIN);
        assert!((w[0] - 0.9).abs() < 1e-12 && (w[1] - 1.1).abs() < 1e-12);
    }

    #[test]
    fn a_second_step_uses_unbiased_averages() {
        // g = 1, then 3: m = .9 x .1 + .1 x 3 = .39, m' = .39 / .19; v = .99 x .01 + .01 x 9 = .0999, v' = .0999 / .0199
        let (mut w, mut m, mut v) = ([0.0], [0.0], [0.0]);
        adamw(&mut w, &[1.0], &mut m, &mut v, PLAIN);
        adamw(&mut w, &[3.0], &mut m, &mut v, AdamW { step: 2, ..PLAIN });
        let expected = -0.1 - 0.1 * (0.39 / 0.19) / (0.0999_f64 / 0.0199).sqrt();
        assert!((w[0] - expected).abs() < 1e-12, "{} is not {expected}", w[0]);
    }

    #[test]
    fn decay_pulls_a_weight_towards_zero_even_without_a_gradient() {
        let (mut w, mut m, mut v) = ([2.0], [0.0], [0.0]);
        adamw(&mut w, &[0.0], &mut m, &mut v, AdamW { weight_decay: 0.01, epsilon: 1e-8, ..PLAIN });
        // 2 - .1 x .01 x 2
        assert!((w[0] - 1.998).abs() < 1e-12);
    }
}
