//! A linear head with its selective log-softmax.

use proptest::prelude::*;
use stateset_kernels::cpu::Numbers;
use stateset_kernels::{cpu, reference};

use crate::{assert_close, numbers, reproducible, wide};

struct Case {
    states: Vec<f32>,
    weight: Vec<f32>,
    targets: Vec<u32>,
    upstream: (Vec<f32>, Vec<f32>),
    temperature: f32,
    hidden: usize,
    soft_cap: Option<f32>,
}

impl Case {
    fn new((rows, hidden, vocab): (usize, usize, usize), temperature: f32, seed: u64) -> Self {
        Self {
            states: numbers(seed, rows * hidden, 1.0),
            weight: numbers(seed + 1, vocab * hidden, 1.0),
            targets: (0..rows).map(|i| ((seed as usize + 31 * i) % vocab) as u32).collect(),
            upstream: (numbers(seed + 2, rows, 1.0), numbers(seed + 3, rows, 1.0)),
            temperature,
            hidden,
            soft_cap: None,
        }
    }

    /// Log-probabilities, entropies, gradients of states and weight; the latter are added to `begun`.
    fn found(&self, keep: bool, begun: f32) -> [Vec<f32>; 4] {
        reproducible(|| {
            let head = cpu::Head {
                states: &self.states,
                weight: (&self.weight).into(),
                targets: &self.targets,
                temperature: self.temperature,
                hidden: self.hidden,
                soft_cap: self.soft_cap,
            };
            let mut logits = vec![f32::NAN; head.room(keep)];
            let found = cpu::linear_log_prob(head, &mut logits);
            let (mut dx, mut dw) = (vec![f32::NAN; self.states.len()], vec![begun; self.weight.len()]);
            let upstream = (self.upstream.0.as_slice(), self.upstream.1.as_slice());
            cpu::linear_log_prob_backward(head, &found, (&mut logits, keep), upstream, &mut dx, Some(&mut dw));
            [found.log_prob, found.entropy, dx, dw]
        })
    }

    fn expected(&self) -> [Vec<f64>; 4] {
        let (x, w) = (wide(&self.states), wide(&self.weight));
        let head = reference::Head {
            targets: &self.targets,
            temperature: f64::from(self.temperature),
            hidden: self.hidden,
            soft_cap: self.soft_cap.map(f64::from),
        };
        let upstream = (wide(&self.upstream.0), wide(&self.upstream.1));
        let found = reference::linear_log_prob(head, &x, &w);
        let both = (upstream.0.as_slice(), upstream.1.as_slice());
        let (dx, dw) = reference::linear_log_prob_backward(head, &x, &w, both);
        [found.log_prob, found.entropy, dx, dw]
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn log_probs_and_gradients_of_states_and_weight(
        rows in 0..40usize, hidden in 1..40usize, vocab in 1..80usize, temperature in prop_oneof![Just(1.0f32), 0.3..2.0f32],
        soft_cap in prop_oneof![Just(None), (0.5..3.0f32).prop_map(Some)], keep: bool, seed in 0..1000u64,
    ) {
        let case = Case { soft_cap, ..Case::new((rows, hidden, vocab), temperature, seed) };
        for (found, expected) in case.found(keep, 0.0).iter().zip(case.expected()) {
            assert_close(found, &expected, 1e-5);
        }
    }

    #[test]
    fn the_gradient_of_the_weight_is_added_to_what_is_there(rows in 0..20usize, vocab in 1..30usize, seed in 0..1000u64) {
        let case = Case::new((rows, 7, vocab), 1.0, seed);
        let ([.., alone], [.., added]) = (case.found(false, 0.0), case.found(false, 2.0));
        let expected: Vec<f64> = alone.iter().map(|it| f64::from(*it) + 2.0).collect();
        assert_close(&added, &expected, 1e-6);
    }
}

#[test]
fn tiles_find_what_all_logits_at_once_find() {
    // Two rows of three tiles, the last of each direction smaller than the others.
    let case = Case::new((2100, 6, 4200), 0.8, 1);
    let (whole, tiles, expected) = (case.found(true, 0.0), case.found(false, 0.0), case.expected());
    // Gradients are sums over thousands of rows or columns, taken in another order.
    for (i, allowed) in [1e-6, 1e-6, 4e-6, 4e-6].into_iter().enumerate() {
        assert_close(&tiles[i], &wide(&whole[i]), allowed);
        assert_close(&tiles[i], &expected[i], 1e-5);
    }
}

#[test]
#[should_panic(expected = "a target is outside the vocabulary")]
fn a_target_outside_the_vocabulary_is_refused() {
    let head = cpu::Head {
        states: &[1.0],
        weight: Numbers::F32(&[1.0, 2.0]),
        targets: &[2],
        temperature: 1.0,
        hidden: 1,
        soft_cap: None,
    };
    let _ = cpu::linear_log_prob(head, &mut [0.0; 2]);
}
