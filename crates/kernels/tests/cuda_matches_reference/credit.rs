//! Advantages and the clipped objective; their definitions against those of `stateset_algorithms`.

use proptest::prelude::*;
use stateset_algorithms::advantage::{Advantage, Answer, Gae};
use stateset_kernels::cuda::{self, Array, Device};
use stateset_kernels::reference::{self, Baseline, Evaluation, Kl, Token};

use crate::{assert_close, blank, download, numbers, on_devices, upload, wide};

fn offsets(lengths: &[usize]) -> Vec<u32> {
    let ends = lengths.iter().scan(0, |end, length| {
        *end += *length as u32;
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

const BASELINES: [(Baseline, Advantage); 4] = [
    (Baseline::Centred, Advantage::Centred),
    (Baseline::GroupStd, Advantage::GroupStd),
    (Baseline::GroupPopulationStd, Advantage::GroupPopulationStd),
    (Baseline::LeaveOneOut, Advantage::LeaveOneOut),
];

fn group_case(lengths: &[usize], seed: u64, levels: f32) {
    let n: usize = lengths.iter().sum();
    // A few levels, so that some groups are flat.
    let rewards: Vec<f32> = numbers::<f32>(seed, n, levels).iter().map(|x| x.round() / 10.0).collect();
    for (baseline, algorithm) in BASELINES {
        let mut rest = wide(&rewards);
        let groups: Vec<Vec<f64>> = lengths.iter().map(|length| rest.drain(..length).collect()).collect();
        let expected: Vec<f64> = groups.iter().flat_map(|group| reference::group_advantages(group, baseline)).collect();
        let answers: Vec<Vec<Answer>> = groups
            .iter()
            .map(|group| group.iter().map(|reward| Answer { reward: *reward, tokens: 1 }).collect())
            .collect();
        assert_close(&algorithm.estimate(&answers).concat(), &expected, 1e-12);
        for found in on_devices!(|device| {
            let mut advantages = blank::<_, f32>(device, n);
            let offsets = Array::from_slice(device, &offsets(lengths)).unwrap();
            cuda::group_advantages(device, &upload(device, &rewards), &offsets, baseline, &mut advantages).unwrap();
            vec![download(device, &advantages)]
        }) {
            assert_close(&found[0], &expected, 2e-7);
        }
    }
}

fn gae_case(lengths: &[usize], (gamma, lambda): (f32, f32), seed: u64) {
    let n: usize = lengths.iter().sum();
    let mask: Vec<u8> = numbers::<f32>(seed, n, 1.0).iter().map(|x| u8::from(*x > -0.3)).collect();
    // What others said has neither reward nor value.
    let masked = |x: Vec<f32>| -> Vec<f32> {
        x.iter().zip(&mask).map(|(x, own)| if *own == 0 { f32::NAN } else { *x }).collect()
    };
    let (rewards, values) = (masked(numbers(seed + 1, n, 1.0)), masked(numbers(seed + 2, n, 1.0)));
    let mut expected = Vec::new();
    for pair in offsets(lengths).windows(2) {
        let part = pair[0] as usize..pair[1] as usize;
        let (rewards, values) = (wide(&rewards[part.clone()]), wide(&values[part.clone()]));
        let mask: Vec<bool> = mask[part].iter().map(|own| *own != 0).collect();
        let settings = (f64::from(gamma), f64::from(lambda));
        let found = reference::gae(&rewards, &values, &mask, settings);
        let same = Gae { gamma: settings.0, lambda: settings.1, steps: None }.advantages(&rewards, &values, &mask);
        assert_close(&same, &found, 1e-12);
        expected.extend(found);
    }
    for found in on_devices!(|device| {
        let mut advantages = blank::<_, f32>(device, n);
        let (offsets, mask) = (Array::from_slice(device, &offsets(lengths)), Array::from_slice(device, &mask));
        let (rewards, values, mask) = (upload(device, &rewards), upload(device, &values), mask.unwrap());
        cuda::gae(device, &rewards, &values, &mask, &offsets.unwrap(), (gamma, lambda), &mut advantages).unwrap();
        vec![download(device, &advantages)]
    }) {
        assert_close(&found[0], &expected, 3e-6);
    }
}

/// Log-probabilities near one another, now and then far apart or impossible.
fn log_probs(seed: u64, n: usize) -> Vec<f32> {
    let far = |i: usize, x: f32| match (i as u64 * 13 + seed) % 41 {
        0 => x - 60.0,
        1 => f32::NEG_INFINITY,
        _ => x - 1.5,
    };
    numbers::<f32>(seed, n, 0.4).into_iter().enumerate().map(|(i, x)| far(i, x)).collect()
}

fn objective_case(n: usize, dual_clip: Option<f32>, compared: bool, seed: u64) {
    let (new, old, anchor) = (log_probs(seed, n), log_probs(seed + 1, n), log_probs(seed + 2, n));
    let (advantages, pushes, weights) =
        (numbers(seed + 3, n, 2.0), numbers(seed + 4, n, 1.0), numbers(seed + 5, n, 1.0));
    // Two impossible log-probabilities have no difference; such tokens are left out, as are some others.
    let possible = |i: usize| [new[i], old[i], anchor[i]].iter().filter(|x| x.is_infinite()).count() < 2;
    let mask: Vec<u8> = (0..n).map(|i| u8::from(possible(i) && (i as u64 + seed) % 5 != 2)).collect();
    for kl in [Kl::K1, Kl::K2, Kl::K3] {
        let clipping = cuda::Clipping { low: 0.2, high: 0.28, dual_clip, kl, kl_coef: 0.05 };
        let (low, high) = (f64::from(1.0 - 0.2f32), f64::from(1.0 + 0.28f32));
        let with = reference::Clipping {
            low: 1.0 - low,
            high: high - 1.0,
            dual_clip: dual_clip.map(f64::from),
            kl,
            kl_coef: f64::from(0.05f32),
        };
        let wide = |x: &[f32], i: usize| f64::from(x[i]);
        // A sum is as exact as its terms are large, however they cancel.
        let (mut expected, mut sizes) = ((vec![0.0; n], [0.0; 7]), [1.0; 7]);
        for i in (0..n).filter(|i| mask[*i] != 0) {
            let token = Token {
                new: wide(&new, i),
                old: wide(&old, i),
                reference: compared.then(|| wide(&anchor, i)),
                advantage: wide(&advantages, i),
                push: wide(&pushes, i),
                weight: wide(&weights, i),
            };
            let Evaluation { slope, sums } = reference::clipped_objective(token, with);
            expected.0[i] = slope;
            expected.1.iter_mut().zip(sums).for_each(|(total, own)| *total += own);
            sizes.iter_mut().zip(sums).for_each(|(size, own): (&mut f64, f64)| *size += own.abs());
        }
        for found in on_devices!(|device| objective(
            device,
            [&new, &old, &anchor, &advantages, &pushes, &weights],
            &mask,
            compared,
            clipping
        )) {
            for (found, expected) in found[0].iter().zip(&expected.0) {
                assert!((found - expected).abs() <= 3e-6 * expected.abs().max(1.0), "slope {found} is not {expected}");
            }
            for ((found, expected), size) in found[1].iter().zip(expected.1).zip(sizes) {
                assert!((found - expected).abs() <= 3e-6 * size, "sum {found} is not {expected}");
            }
        }
    }
}

fn objective<D: Device>(
    device: &D,
    tokens: [&Vec<f32>; 6],
    mask: &[u8],
    compared: bool,
    with: cuda::Clipping,
) -> Vec<Vec<f64>> {
    let [new, old, reference, advantages, pushes, weights] = tokens.map(|it| upload(device, it));
    let mask = &Array::from_slice(device, mask).unwrap();
    let reference = compared.then_some(&reference);
    let (advantages, pushes, weights) = (&advantages, &pushes, &weights);
    let tokens = cuda::Tokens { new: &new, old: &old, reference, advantages, pushes, weights, mask };
    let mut slopes = blank::<D, f32>(device, mask.len());
    let mut sums = cuda::Sums::new(device, mask.len()).unwrap();
    cuda::clipped_objective(device, &tokens, with, &mut slopes, &mut sums).unwrap();
    vec![download(device, &slopes), sums.total.to_vec(device).unwrap()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn groups_of_any_size(lengths in prop::collection::vec(0..70usize, 0..8), seed in 0..1000u64, levels in 0.4..8.0f32) {
        group_case(&lengths, seed, levels);
    }

    #[test]
    fn credit_for_tokens_of_packed_sequences(
        lengths in prop::collection::vec(0..300usize, 0..5), gamma in 0.9..1.0f32, lambda in 0.0..1.0f32, seed in 0..1000u64,
    ) {
        gae_case(&lengths, (gamma, lambda), seed);
    }

    #[test]
    fn slopes_and_sums_of_the_objective(
        n in 1..800usize, dual_clip in prop_oneof![Just(None), (1.5..4.0f32).prop_map(Some)], compared: bool, seed in 0..1000u64,
    ) {
        objective_case(n, dual_clip, compared, seed);
    }
}

#[test]
fn credit_reaches_across_many_blocks_of_tokens() {
    gae_case(&[0, 2000, 1, 256, 257], (1.0, 1.0), 7);
}

#[test]
fn offsets_beyond_the_end_stop_there() {
    for found in on_devices!(|device| {
        let (offsets, mask) =
            (Array::from_slice(device, &[0, 2, 900]).unwrap(), Array::from_slice(device, &[1u8; 3]).unwrap());
        let (ones, zeros) = (upload(device, &[1.0f32, 0.0, 1.0]), upload(device, &[0.0f32; 3]));
        let (mut groups, mut tokens) = (blank::<_, f32>(device, 3), blank::<_, f32>(device, 3));
        cuda::group_advantages(device, &ones, &offsets, Baseline::Centred, &mut groups).unwrap();
        cuda::gae(device, &ones, &zeros, &mask, &offsets, (1.0, 1.0), &mut tokens).unwrap();
        vec![download(device, &groups), download(device, &tokens)]
    }) {
        assert_eq!(found, [[0.5, -0.5, 0.0], [1.0, 0.0, 1.0]]);
    }
}
