//! What was measured lately, in numbers that one bad step cannot bend.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Steps that are looked back on.
pub(super) const WINDOW: usize = 32;
/// Fewer values than this say nothing.
pub(super) const ENOUGH: usize = 5;

/// The latest values of a signal, oldest first; the step that is being judged is not among them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Window(VecDeque<f64>);

/// The windows of all signals that somebody looks back on.
pub(super) type Past = BTreeMap<String, Window>;

impl Window {
    /// Takes a value in, unless it is not finite, and lets the oldest go.
    pub(super) fn push(&mut self, value: f64) {
        if value.is_finite() {
            self.0.push_back(value);
            while self.0.len() > WINDOW {
                self.0.pop_front();
            }
        }
    }

    /// The middle value; NaN as long as there are fewer than [`ENOUGH`].
    pub(super) fn median(&self) -> f64 {
        self.known(|values| middle(values.iter().copied().collect()))
    }

    /// The middle distance from the median, which half of the values keep within.
    pub(super) fn mad(&self) -> f64 {
        let median = self.median();
        self.known(|values| middle(values.iter().map(|value| (value - median).abs()).collect()))
    }

    /// The mean.
    pub(super) fn mean(&self) -> f64 {
        self.known(|values| values.iter().sum::<f64>() / values.len() as f64)
    }

    fn known(&self, statistic: impl Fn(&VecDeque<f64>) -> f64) -> f64 {
        if self.0.len() < ENOUGH { f64::NAN } else { statistic(&self.0) }
    }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { 0.5 * (values[half - 1] + values[half]) }
}

/// A mean in which older values fade.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Fading(Option<f64>);

impl Fading {
    /// Takes a value in, with a share of 0.3, unless it is not finite; the mean.
    pub(super) fn push(&mut self, value: f64) -> f64 {
        if value.is_finite() {
            self.0 = Some(self.0.map_or(value, |mean| mean + 0.3 * (value - mean)));
        }
        self.mean()
    }

    /// The mean; NaN before the first value.
    pub(super) fn mean(&self) -> f64 {
        self.0.unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(values: impl IntoIterator<Item = f64>) -> Window {
        let mut window = Window::default();
        values.into_iter().for_each(|value| window.push(value));
        window
    }

    #[test]
    fn one_wild_value_moves_the_mean_and_not_the_median() {
        // Sorted 1 2 3 4 100: median 3; distances 2 1 0 1 97, sorted 0 1 1 2 97: 1; mean 110 / 5 = 22.
        let window = window([2.0, 1.0, 100.0, 4.0, 3.0]);
        assert_eq!((window.median(), window.mad(), window.mean()), (3.0, 1.0, 22.0));
    }

    #[test]
    fn an_even_number_of_values_has_its_median_between_two() {
        assert_eq!(window([1.0, 2.0, 3.0, 5.0, 8.0, 9.0]).median(), 4.0);
    }

    #[test]
    fn too_few_values_say_nothing_and_what_is_not_finite_is_no_value() {
        assert!(window([1.0; ENOUGH - 1]).median().is_nan());
        assert!(window([1.0, f64::NAN, f64::INFINITY, 1.0, 1.0, 1.0]).mean().is_nan());
    }

    #[test]
    fn old_values_leave() {
        assert_eq!(window((0..WINDOW).map(|_| 9.0).chain([1.0; WINDOW])).mean(), 1.0);
    }

    #[test]
    fn a_fading_mean_begins_at_its_first_value() {
        let mut mean = Fading::default();
        assert!(mean.mean().is_nan() && mean.push(f64::NAN).is_nan());
        assert_eq!((mean.push(1.0), mean.push(0.0)), (1.0, 0.7));
    }
}
