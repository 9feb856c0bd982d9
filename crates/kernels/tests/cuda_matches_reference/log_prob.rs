//! Selective log-softmax and entropy.

use half::bf16;
use proptest::prelude::*;
use stateset_kernels::cuda::{self, Array, Device};
use stateset_kernels::reference;

use crate::{Number, assert_close, blank, download, numbers, on_devices, upload, wide};

struct Case<T> {
    logits: Vec<T>,
    targets: Vec<u32>,
    temperature: f32,
    vocab: usize,
    upstream: [Vec<f32>; 2],
}

impl<T: Number> Case<T> {
    fn new(rows: usize, vocab: usize, temperature: f32, scale: f32, seed: u64) -> Self {
        let mut logits = numbers(seed, rows * vocab, scale);
        // Some tokens are impossible, but not all of a row.
        for i in (0..logits.len()).filter(|i| (i * 7 + seed as usize) % 11 == 3 && i % vocab != 0) {
            logits[i] = T::narrow(f32::NEG_INFINITY);
        }
        let targets = (0..rows).map(|i| (seed as usize + 31 * i) % vocab);
        let possible = |i: usize, target: usize| if logits[i * vocab + target].wide().is_finite() { target } else { 0 };
        let targets = targets.enumerate().map(|(i, target)| possible(i, target) as u32).collect();
        let upstream = [numbers(seed + 1, rows, 1.0), numbers(seed + 2, rows, 1.0)];
        Self { logits, targets, temperature, vocab, upstream }
    }

    fn run<D: Device>(&self, device: &D) -> Vec<Vec<f64>> {
        let rows = self.targets.len();
        let mut logits = upload(device, &self.logits);
        let targets = Array::from_slice(device, &self.targets).unwrap();
        let mut found = cuda::LogProb::new(device, rows).unwrap();
        cuda::log_prob(device, &logits, &targets, self.temperature, self.vocab, &mut found).unwrap();
        let [g, h] = self.upstream.each_ref().map(|it| upload(device, it));
        let mut d_logits = blank(device, self.logits.len());
        cuda::log_prob_backward(device, &logits, &targets, self.temperature, &found, (&g, &h), &mut d_logits).unwrap();
        cuda::log_prob_backward_in_place(device, &mut logits, &targets, self.temperature, &found, (&g, &h)).unwrap();
        let d_logits = download::<D, T>(device, &d_logits);
        assert_eq!(d_logits, download(device, &logits), "in place or not");
        vec![download(device, &found.log_prob), download(device, &found.entropy), d_logits]
    }

    fn check(&self, (values, gradients): (f64, f64)) {
        let (logits, temperature) = (wide(&self.logits), f64::from(self.temperature));
        let expected = reference::log_prob(&logits, &self.targets, temperature, self.vocab);
        let [g, h] = self.upstream.each_ref().map(|it| wide(it));
        let d_logits = reference::log_prob_backward(&logits, &self.targets, temperature, self.vocab, (&g, &h));
        for found in on_devices!(|device| self.run(device)) {
            assert_close(&found[0], &expected.log_prob, values);
            assert_close(&found[1], &expected.entropy, values);
            assert_close(&found[2], &d_logits, gradients + T::ROUNDING);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn log_probs_entropies_and_gradients(
        rows in 0..5usize, vocab in prop_oneof![1..70usize, 70..2500usize],
        temperature in prop_oneof![Just(1.0f32), 0.3..2.0f32], seed in 0..1000u64,
    ) {
        Case::<f32>::new(rows, vocab, temperature, 8.0, seed).check((3e-6, 5e-6));
        Case::<bf16>::new(rows, vocab, temperature, 8.0, seed).check((3e-6, 5e-6));
    }

    #[test]
    fn extreme_logits_stay_finite_and_right(rows in 1..4usize, vocab in 1..100usize, seed in 0..1000u64) {
        Case::<f32>::new(rows, vocab, 1.0, 1e4, seed).check((2e-6, 5e-6));
    }
}

#[test]
fn a_vocabulary_of_a_quarter_of_a_million() {
    Case::<bf16>::new(2, 262_144, 1.0, 8.0, 3).check((5e-6, 5e-6));
    Case::<f32>::new(1, 151_937, 0.7, 8.0, 4).check((5e-6, 5e-6));
}

#[test]
fn a_logit_that_is_not_a_number_is_not_hidden_and_neither_is_a_row_of_impossible_tokens() {
    for logits in [[0.0, f32::NAN, 1.0], [f32::NEG_INFINITY; 3], [f32::NAN; 3], [0.0, f32::INFINITY, 1.0]] {
        let case = Case {
            logits: logits.to_vec(),
            targets: vec![0],
            temperature: 1.0,
            vocab: 3,
            upstream: [vec![1.0], vec![0.0]],
        };
        for found in on_devices!(|device| {
            let logits = upload(device, &case.logits);
            let targets = Array::from_slice(device, &case.targets).unwrap();
            let mut found = cuda::LogProb::new(device, 1).unwrap();
            cuda::log_prob(device, &logits, &targets, 1.0, 3, &mut found).unwrap();
            vec![download(device, &found.log_prob), download(device, &found.entropy)]
        }) {
            assert!(!found[0][0].is_finite() && found[1][0].is_nan(), "{logits:?}: {found:?}");
        }
    }
}

#[test]
fn a_target_outside_the_vocabulary_has_no_log_probability() {
    let case = Case::<f32> {
        logits: vec![0.0; 8],
        targets: vec![4, 3],
        temperature: 1.0,
        vocab: 4,
        upstream: [vec![1.0; 2], vec![0.0; 2]],
    };
    for found in on_devices!(|device| case.run(device)[..1].to_vec()) {
        assert!(found[0][0].is_nan() && (found[0][1] + 4f64.ln()).abs() < 1e-6, "{found:?}");
    }
}
