//! The critic's loss: how far its values are from what came.
//!
//! A token loses `max((v - R)^2, (clip(v, v_old - c, v_old + c) - R)^2) / 2`, where `R` is its return and `v_old` the value that the update
//! began from. The clip, of PPO's first implementation, gives a value that has already gone `c` towards its return no further push; without
//! it (`clip: none`) the first term is all there is. (verl has 0.5, TRL 0.2; both halve the square, Stable-Baselines3 does not.)

use std::ops::AddAssign;

/// One episode as its critic sees it, one entry per token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Valued<'a> {
    /// Values under the critic being trained.
    pub new: &'a [f64],
    /// Values when the update began.
    pub old: &'a [f64],
    /// What each value should have been.
    pub returns: &'a [f64],
    /// True where a value is learned. The others are never looked at.
    pub mask: &'a [bool],
}

/// What a critic lost in one micro-batch. Adds up over micro-batches.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ValueEvaluation {
    /// The micro-batch's share of the batch's loss.
    pub loss: f64,
    /// Values that are learned.
    pub values: usize,
    /// Sum of their squared distances from the returns.
    pub squares: f64,
    /// Sum of the returns.
    pub return_sum: f64,
    /// Sum of their squares.
    pub return_squares: f64,
}

impl ValueEvaluation {
    /// Half the mean squared distance of the values from the returns.
    #[must_use]
    pub fn mean_loss(&self) -> f64 {
        0.5 * self.squares / self.values.max(1) as f64
    }

    /// The share of the returns' variance that the values explain: 1 is all of it, 0 what their mean would, and a critic that misleads is
    /// below. 0 if there is none to explain.
    #[must_use]
    pub fn explained_variance(&self) -> f64 {
        let count = self.values.max(1) as f64;
        let variance = self.return_squares / count - (self.return_sum / count).powi(2);
        if variance > 1e-12 { 1.0 - self.squares / count / variance } else { 0.0 }
    }
}

impl AddAssign for ValueEvaluation {
    fn add_assign(&mut self, other: Self) {
        let Self { loss, values, squares, return_sum, return_squares } = other;
        self.loss += loss;
        self.values += values;
        self.squares += squares;
        self.return_sum += return_sum;
        self.return_squares += return_squares;
    }
}

impl Valued<'_> {
    /// The loss of the episode's values, each of which weighs `weight`. Writes dLoss/dNew to `d_new`; 0 where nothing is learned.
    ///
    /// # Panics
    /// If the arrays differ in length.
    pub fn evaluate(&self, clip: Option<f64>, weight: f64, d_new: &mut [f64]) -> ValueEvaluation {
        let Self { new, old, returns, mask } = *self;
        let lengths = [old.len(), returns.len(), mask.len(), d_new.len()];
        assert!(lengths == [new.len(); 4], "an episode's arrays have one entry per token");
        d_new.fill(0.0);
        let mut sum = ValueEvaluation::default();
        for t in (0..new.len()).filter(|t| mask[*t]) {
            let apart = new[t] - returns[t];
            let bounded = clip.map_or(apart, |clip| new[t].clamp(old[t] - clip, old[t] + clip) - returns[t]);
            // Where the bounded distance is the larger one, and it is bounded, the value moves it no more.
            let (taken, slope) = match apart.abs() >= bounded.abs() {
                true => (apart, apart),
                false => (bounded, 0.0),
            };
            sum.loss += 0.5 * weight * taken * taken;
            d_new[t] = weight * slope;
            sum.values += 1;
            sum.squares += apart * apart;
            sum.return_sum += returns[t];
            sum.return_squares += returns[t] * returns[t];
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(new: f64, old: f64, target: f64, clip: Option<f64>) -> (f64, f64) {
        let mut slope = [f64::NAN];
        let valued = Valued { new: &[new], old: &[old], returns: &[target], mask: &[true] };
        (valued.evaluate(clip, 1.0, &mut slope).loss, slope[0])
    }

    #[test]
    fn a_value_that_has_gone_far_enough_is_not_pushed_further() {
        // Towards 1, from 0, by 0.5 where 0.2 are allowed: (0.2 - 1)^2 / 2 = 0.32.
        let (loss, slope) = one(0.5, 0.0, 1.0, Some(0.2));
        assert!((loss - 0.32).abs() < 1e-12 && slope == 0.0);
        // Without a clip, (0.5 - 1)^2 / 2 = 0.125.
        assert_eq!(one(0.5, 0.0, 1.0, None), (0.125, -0.5));
    }

    #[test]
    fn a_value_that_has_gone_the_wrong_way_is_called_back() {
        // From 0 to -0.5 while 1 was right: (-0.5 - 1)^2 / 2 = 1.125, more than the bounded (-0.2 - 1)^2 / 2.
        assert_eq!(one(-0.5, 0.0, 1.0, Some(0.2)), (1.125, -1.5));
    }

    #[test]
    fn values_that_are_right_explain_everything_and_their_mean_explains_nothing() {
        let explained = |new: &[f64]| {
            let valued = Valued { new, old: new, returns: &[1.0, 0.0, 5.0], mask: &[true, true, false] };
            valued.evaluate(None, 1.0, &mut [0.0; 3]).explained_variance()
        };
        assert_eq!(explained(&[1.0, 0.0, f64::NAN]), 1.0);
        assert_eq!(explained(&[0.5, 0.5, f64::NAN]), 0.0);
        assert!(explained(&[0.0, 1.0, f64::NAN]) < 0.0);
    }

    proptest! {
        #[test]
        fn slopes_are_derivatives(
            new in -3.0..3.0f64, old in -3.0..3.0f64, target in -3.0..3.0f64, clip in prop::option::of(0.05..1.0f64),
        ) {
            const STEP: f64 = 1e-6;
            // The two edges of the clip, and where both distances are equal.
            let near = |a: f64, b: f64| (a - b).abs() < 1e-4;
            let bounded = clip.map_or(new, |clip| new.clamp(old - clip, old + clip));
            prop_assume!(clip.is_none_or(|clip| !near((new - old).abs(), clip)));
            prop_assume!(bounded == new || !near((new - target).abs(), (bounded - target).abs()));
            let numeric = (one(new + STEP, old, target, clip).0 - one(new - STEP, old, target, clip).0) / (2.0 * STEP);
            let (_, slope) = one(new, old, target, clip);
            prop_assert!((slope - numeric).abs() < 1e-7 * slope.abs().max(1.0), "{} is not {}", slope, numeric);
        }
    }
}
