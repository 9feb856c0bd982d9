//! TRPO's arithmetic: which way to go, how far, and whether that was wise.
//!
//! Trust region policy optimisation (arXiv:1502.05477) makes `L = mean(A r)` larger while the mean KL from where the step began stays
//! within a bound. With the gradient `g` of `L` and the Fisher matrix `F` the best small step is along `x = F^-1 g`, found by conjugate
//! gradients from products `F v` alone, and as long as `sqrt(2 max_kl / x^T F x)` allows. It is shortened until the exact KL is within the
//! bound and `L` has really grown; if it never is, nothing moves.
//!
//! Where systems differ: Spinning Up and Stable-Baselines3 contrib have 10 and 15 iterations, both a damping of 0.1 and ten steps of 0.8;
//! the latter starts conjugate gradients from noise, the paper and we from 0.

use serde::{Deserialize, Serialize};

use crate::{Aggregation, Algorithm, Grpo, Section};

/// Conjugate gradients have arrived where `r^T r` is this small a part of what it was.
const RESIDUAL: f64 = 1e-10;

/// Trust region policy optimisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trpo {
    /// How far a step may move the policy: mean KL, nats per token. Above 0; default 0.01.
    pub max_kl: f64,
    /// Iterations of conjugate gradients. At least 1; default 10.
    pub iterations: usize,
    /// What is added to the Fisher matrix's diagonal. At least 0; default 0.1.
    pub damping: f64,
    /// The share of a batch's episodes from which the Fisher matrix is estimated. Above 0, at most 1; default 0.1, as published.
    pub fisher_share: f64,
    /// By how much a step that goes too far is shortened. In `(0, 1)`; default 0.8.
    pub backtrack: f64,
    /// How often before it is given up. At least 1; default 10.
    pub backtracks: usize,
}

impl Default for Trpo {
    fn default() -> Self {
        Self { max_kl: 0.01, iterations: 10, damping: 0.1, fisher_share: 0.1, backtrack: 0.8, backtracks: 10 }
    }
}

/// Where to go.
#[derive(Debug, Clone, PartialEq)]
pub struct Direction {
    /// The whole step, as long as the bound allows.
    pub step: Vec<f64>,
    /// `x^T F x` of the direction before it was scaled, damping included.
    pub curvature: f64,
}

/// What a step led to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Landing {
    /// Mean KL from where it began, nats.
    pub kl: f64,
    /// By how much the surrogate has grown.
    pub gain: f64,
}

impl Trpo {
    /// The surrogate: every token's ratio times its advantage, without a clip; a loss, so less is better.
    #[must_use]
    pub fn policy(&self) -> Grpo {
        Grpo { aggregation: Aggregation::Dapo, clip_low: 1.0, clip_high: f64::INFINITY, ..Grpo::default() }
    }

    /// The longest step along the natural gradient, given the gradient of what is to grow and products with the Fisher matrix. `None` if
    /// there is nowhere to go: no gradient, or no curvature.
    ///
    /// # Errors
    /// That of `fisher`.
    pub fn direction<E>(
        &self,
        gradient: &[f64],
        mut fisher: impl FnMut(&[f64]) -> Result<Vec<f64>, E>,
    ) -> Result<Option<Direction>, E> {
        let mut damped = |v: &[f64]| -> Result<Vec<f64>, E> {
            let mut product = fisher(v)?;
            product.iter_mut().zip(v).for_each(|(product, v)| *product += self.damping * v);
            Ok(product)
        };
        let x = conjugate_gradient(self.iterations, gradient, &mut damped)?;
        let curvature = dot(&x, &damped(&x)?);
        if !(curvature > 0.0 && curvature.is_finite()) {
            return Ok(None);
        }
        let scale = (2.0 * self.max_kl / curvature).sqrt();
        Ok(Some(Direction { step: x.iter().map(|x| scale * x).collect(), curvature }))
    }

    /// How much of a step to take, given where each part of it lands; `None` if nothing of it is wise.
    ///
    /// # Errors
    /// That of `land`.
    pub fn search<E>(&self, mut land: impl FnMut(f64) -> Result<Landing, E>) -> Result<Option<(f64, Landing)>, E> {
        let mut part = 1.0;
        for _ in 0..self.backtracks {
            let landing = land(part)?;
            if landing.kl < self.max_kl && landing.gain > 0.0 {
                return Ok(Some((part, landing)));
            }
            part *= self.backtrack;
        }
        Ok(None)
    }

    /// Everything that is wrong with these settings, one sentence each; empty if nothing is.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let Self { max_kl, iterations, damping, fisher_share, backtrack, backtracks } = self;
        let mut problems = Vec::new();
        if !(*max_kl > 0.0 && max_kl.is_finite()) {
            problems.push(format!("max_kl must be above 0, but is {max_kl}"));
        }
        for (name, count) in [("iterations", iterations), ("backtracks", backtracks)] {
            if *count == 0 {
                problems.push(format!("{name} must be at least 1, but is 0"));
            }
        }
        if !(*damping >= 0.0 && damping.is_finite()) {
            problems.push(format!("damping must be 0 or more, but is {damping}"));
        }
        if !(*fisher_share > 0.0 && *fisher_share <= 1.0) {
            problems.push(format!("fisher_share must be above 0 and at most 1, but is {fisher_share}"));
        }
        if !(*backtrack > 0.0 && *backtrack < 1.0) {
            problems.push(format!("backtrack must lie between 0 and 1, but is {backtrack}"));
        }
        problems
    }
}

/// `x` with `F x = b`, nearly (Hestenes & Stiefel 1952).
fn conjugate_gradient<E>(
    iterations: usize,
    b: &[f64],
    mut product: impl FnMut(&[f64]) -> Result<Vec<f64>, E>,
) -> Result<Vec<f64>, E> {
    let mut x = vec![0.0; b.len()];
    let (mut residual, mut along) = (b.to_vec(), b.to_vec());
    let mut left = dot(&residual, &residual);
    let near = RESIDUAL * left;
    for _ in 0..iterations {
        if left <= near {
            break;
        }
        let pushed = product(&along)?;
        let pace = left / dot(&along, &pushed);
        x.iter_mut().zip(&along).for_each(|(x, along)| *x += pace * along);
        residual.iter_mut().zip(&pushed).for_each(|(residual, pushed)| *residual -= pace * pushed);
        let now = dot(&residual, &residual);
        along.iter_mut().zip(&residual).for_each(|(along, residual)| *along = residual + now / left * *along);
        left = now;
    }
    Ok(x)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Section for Trpo {
    const NAME: &'static str = "trpo";

    fn problems(&self) -> Vec<String> {
        self.validate()
    }

    fn idle(&self, _algorithm: Algorithm) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn times(rows: &[[f64; 2]; 2], v: &[f64]) -> Result<Vec<f64>, Infallible> {
        Ok(rows.iter().map(|row| row[0] * v[0] + row[1] * v[1]).collect())
    }

    #[test]
    fn two_parameters() {
        // F = [[2, .5], [.5, 1]] + .1 I, g = [1, -1]: x = [1.6, -2.6] / 2.06, x^T F x = g^T x.
        let Ok(found) = Trpo::default().direction(&[1.0, -1.0], |v| times(&[[2.0, 0.5], [0.5, 1.0]], v));
        let Direction { step, curvature } = found.unwrap();
        assert!((curvature - 2.038835).abs() < 5e-7, "{curvature}");
        let scale = (0.02 / curvature).sqrt();
        assert!((scale - 0.099043).abs() < 5e-7, "{scale}");
        for (found, (x, expected)) in step.iter().zip([(0.776699, 0.076927), (-1.262136, -0.125006)]) {
            assert!((found / scale - x).abs() < 5e-7 && (found - expected).abs() < 5e-7, "{found}");
        }
    }

    #[test]
    fn without_a_gradient_there_is_nowhere_to_go() {
        let Ok(found) = Trpo::default().direction(&[0.0, 0.0], |v| times(&[[2.0, 0.5], [0.5, 1.0]], v));
        assert_eq!(found, None);
    }

    #[test]
    fn a_step_is_shortened_until_it_stays_within_the_bound_and_gains_something() {
        let trpo = Trpo::default();
        // Twice as far as allowed; the KL of a part is as its square, so 0.8^4 of it is the first that stays within: 0.8^8 x 0.04.
        let Ok(found) = trpo.search(|part| Ok::<_, Infallible>(Landing { kl: 0.04 * part * part, gain: part }));
        let (part, landing) = found.unwrap();
        assert!((part - 0.8f64.powi(4)).abs() < 1e-12 && landing.kl < trpo.max_kl, "{part}");
        let Ok(worse) = trpo.search(|_| Ok::<_, Infallible>(Landing { kl: 0.0, gain: -1.0 }));
        assert_eq!(worse, None);
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let trpo = Trpo { max_kl: 0.0, iterations: 0, damping: -1.0, fisher_share: 2.0, backtrack: 1.0, backtracks: 0 };
        assert_eq!(trpo.validate().len(), 6);
        assert!(Trpo::default().validate().is_empty());
    }
}
