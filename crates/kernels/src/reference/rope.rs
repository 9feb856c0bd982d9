//! Rotary position embedding (Su et al., arXiv:2104.09864), half-split: `rotate_half` of Hugging Face's Llama.
//!
//! A head `x[d]` is `d / 2` pairs `(x_i, x_{i + d/2})`, and pair `i` at position `p` is turned by the angle `a = p theta^(-2 i / d)`:
//! `y_i = x_i cos a - x_{i + d/2} sin a`, `y_{i + d/2} = x_{i + d/2} cos a + x_i sin a`. The paper pairs neighbours instead; weights
//! trained for one pairing do not fit the other. A rotation's transpose is the rotation back, so the gradient with respect to `x` is
//! the gradient with respect to `y`, turned by `-a`.

/// `x[d]` turned to `position`; turned back for `direction = -1`.
#[must_use]
pub fn rotate(x: &[f64], position: usize, theta: f64, direction: f64) -> Vec<f64> {
    let half = x.len() / 2;
    let mut y = vec![0.0; x.len()];
    for i in 0..half {
        let angle = direction * position as f64 * theta.powf(-2.0 * i as f64 / x.len() as f64);
        y[i] = x[i] * angle.cos() - x[i + half] * angle.sin();
        y[i + half] = x[i + half] * angle.cos() + x[i] * angle.sin();
    }
    y
}

#[cfg(test)]
mod tests {
    use super::super::check::{assert_gradient, numbers};
    use super::*;

    const THETA: f64 = 10_000.0;

    #[test]
    fn the_first_pair_turns_by_one_radian_per_position() {
        let y = rotate(&[1.0, 0.0, 0.0, 0.0], 2, THETA, 1.0);
        assert!((y[0] - 2f64.cos()).abs() < 1e-12 && (y[2] - 2f64.sin()).abs() < 1e-12);
        assert_eq!((y[1], y[3]), (0.0, 0.0));
    }

    #[test]
    fn dot_products_depend_only_on_the_distance() {
        let (q, k) = (numbers(1, 6), numbers(2, 6));
        let score = |p: usize, t: usize| -> f64 {
            rotate(&q, p, THETA, 1.0).iter().zip(rotate(&k, t, THETA, 1.0)).map(|(q, k)| q * k).sum()
        };
        assert!((score(5, 3) - score(102, 100)).abs() < 1e-12);
    }

    #[test]
    fn turning_back_undoes_a_turn_and_is_its_gradient() {
        let (x, dy) = (numbers(1, 8), numbers(2, 8));
        let back = rotate(&rotate(&x, 7, THETA, 1.0), 7, THETA, -1.0);
        assert!(back.iter().zip(&x).all(|(back, x)| (back - x).abs() < 1e-12));
        assert_gradient(&x, &dy, &rotate(&dy, 7, THETA, -1.0), |x| rotate(x, 7, THETA, 1.0));
    }
}
