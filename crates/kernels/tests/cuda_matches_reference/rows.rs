//! Kernels that go row by row or entry by entry: norm, gate, rotation, optimizer.

use half::bf16;
use proptest::prelude::*;
use stateset_kernels::cpu::AdamW;
use stateset_kernels::cuda::{self, Array};
use stateset_kernels::{Gating, reference};

use crate::{Number, assert_close, blank, download, numbers, on_devices, upload, wide};

fn norm_case<T: Number>(rows: usize, h: usize, seed: u64) {
    const EPS: f32 = 1e-5;
    let (x, dy, w) =
        (numbers::<T>(seed, rows * h, 3.0), numbers::<T>(seed + 1, rows * h, 1.0), numbers::<f32>(seed + 2, h, 2.0));
    let (wide_x, wide_w, eps) = (wide(&x), wide(&w), f64::from(EPS));
    let (expected_dx, expected_dw) = reference::rms_norm_backward(&wide(&dy), &wide_x, &wide_w, eps);
    for found in on_devices!(|device| {
        let (x, dy, w) = (upload(device, &x), upload(device, &dy), upload(device, &w));
        let (mut y, mut dx) = (blank::<_, T>(device, rows * h), blank::<_, T>(device, rows * h));
        let (mut rstd, mut dw) = (blank::<_, f32>(device, rows), Array::zeros(device, h).unwrap());
        cuda::rms_norm(device, &x, &w, EPS, &mut y, &mut rstd).unwrap();
        cuda::rms_norm_backward(device, &dy, &x, &w, &rstd, &mut dx, &mut dw).unwrap();
        vec![download(device, &y), download(device, &dx), download(device, &dw), download(device, &rstd)]
    }) {
        let largest_term = found[3].iter().fold(1.0, |largest: f64, r| largest.max(*r));
        assert_close(&found[0], &reference::rms_norm(&wide_x, &wide_w, eps), 1e-6 + T::ROUNDING);
        assert_close(&found[1], &expected_dx, 2e-6 * largest_term + T::ROUNDING);
        assert_close(&found[2], &expected_dw, 5e-6);
    }
}

fn gate_case<T: Number>(rows: usize, n: usize, scale: f32, seed: u64) {
    let (gate_up, dy) = (numbers::<T>(seed, rows * 2 * n, scale), numbers::<T>(seed + 1, rows * n, 1.0));
    for found in on_devices!(|device| {
        let (mut y, mut d) = (blank::<_, T>(device, rows * n), blank::<_, T>(device, rows * 2 * n));
        let (gate_up, dy) = (upload(device, &gate_up), upload(device, &dy));
        cuda::gate(device, &gate_up, &mut y, n).unwrap();
        cuda::gate_backward(device, &dy, &gate_up, &mut d, n).unwrap();
        vec![download(device, &y), download(device, &d)]
    }) {
        assert_close(&found[0], &reference::gate(Gating::Silu, &wide(&gate_up), n), 1e-6 + T::ROUNDING);
        assert_close(
            &found[1],
            &reference::gate_backward(Gating::Silu, &wide(&dy), &wide(&gate_up), n),
            1e-6 + T::ROUNDING,
        );
    }
}

fn rope_case<T: Number>(rows: usize, heads: usize, half: usize, seed: u64) {
    const THETA: f64 = 10_000.0;
    let (d, width) = (2 * half, (heads + 1) * 2 * half);
    let x = numbers::<T>(seed, rows * width, 2.0);
    let positions: Vec<u32> = (0..rows as u32).map(|row| (row * 37 + seed as u32) % 100).collect();
    for (back, direction) in [(false, 1.0), (true, -1.0)] {
        let mut expected = wide(&x);
        for (row, position) in expected.chunks_exact_mut(width).zip(&positions) {
            for head in row.chunks_exact_mut(d).take(heads) {
                let turned = reference::rotate(head, *position as usize, THETA, direction);
                head.copy_from_slice(&turned);
            }
        }
        for found in on_devices!(|device| {
            let tables = cuda::Rope::new(device, 100, d, THETA).unwrap();
            let positions = Array::from_slice(device, &positions).unwrap();
            let mut x = upload(device, &x);
            cuda::rope(device, &tables, &positions, &mut x, heads, back).unwrap();
            vec![download(device, &x)]
        }) {
            assert_close(&found[0], &expected, 5e-7 + T::ROUNDING);
        }
    }
}

/// Steps with two parameters, clipped together.
fn adamw_case(lengths: [usize; 2], steps: u64, max_norm: f32, seed: u64) {
    let with = |step| AdamW { lr: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1, step };
    let start = [0, 1].map(|i| numbers::<f32>(seed + i as u64, lengths[i], 1.0));
    let gradient = |step: u64, i: usize| numbers::<f32>(seed + 10 * step + i as u64, lengths[i], 0.1);
    let (mut expected, mut norms) = (Vec::new(), Vec::new());
    let mut state = [0, 1].map(|i| (wide(&start[i]), vec![0.0; lengths[i]], vec![0.0; lengths[i]]));
    for step in 1..=steps {
        let gradients = [0, 1].map(|i| wide(&gradient(step, i)));
        let squares: f64 = gradients.iter().flatten().map(|g| g * g).sum();
        norms.push(squares);
        let scale = (f64::from(max_norm) / squares.sqrt()).min(1.0);
        for ((p, m, v), gradient) in state.iter_mut().zip(gradients) {
            let scaled: Vec<f64> = gradient.iter().map(|g| g * scale).collect();
            let AdamW { lr, beta1, beta2, epsilon, weight_decay, step } = with(step);
            let [lr, beta1, beta2, epsilon, weight_decay] = [lr, beta1, beta2, epsilon, weight_decay].map(f64::from);
            reference::adamw(p, &scaled, m, v, reference::AdamW { lr, beta1, beta2, epsilon, weight_decay, step });
        }
    }
    state.into_iter().for_each(|(p, m, v)| expected.extend([p, m, v]));
    for found in on_devices!(|device| {
        let mut clip = cuda::Clip::new(device, &lengths).unwrap();
        let zeros = |i: usize| upload(device, &vec![0.0f32; lengths[i]]);
        let mut moments = [0, 1].map(|i| cuda::Moments { mean: zeros(i), square: zeros(i) });
        let mut parameters = [0, 1].map(|i| upload(device, &start[i]));
        let mut norms = Vec::new();
        for step in 1..=steps {
            let gradients = [0, 1].map(|i| upload(device, &gradient(step, i)));
            cuda::sum_of_squares(device, &[&gradients[0], &gradients[1]], &mut clip).unwrap();
            norms.push(clip.total(device).unwrap());
            for i in [0, 1] {
                let clip = Some((&clip, max_norm));
                cuda::adamw(device, &mut parameters[i], &gradients[i], &mut moments[i], clip, with(step)).unwrap();
            }
        }
        let states = [0, 1].map(|i| [&parameters[i], &moments[i].mean, &moments[i].square]);
        states.iter().flatten().map(|it| download(device, *it)).chain([norms]).collect()
    }) {
        for (found, expected) in found.iter().zip(&expected) {
            assert_close(found, expected, 1e-6);
        }
        for (found, expected) in found[6].iter().zip(&norms) {
            assert!((found - expected).abs() <= 1e-12 * expected, "sum of squares {found} is not {expected}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn rms_norm_and_its_gradients(rows in 0..9usize, h in prop_oneof![1..130usize, Just(512), Just(1000)], seed in 0..1000u64) {
        norm_case::<f32>(rows, h, seed);
        norm_case::<bf16>(rows, h, seed);
    }

    #[test]
    fn gate_and_its_gradient(
        rows in 0..9usize, n in prop_oneof![1..100usize, Just(1024)], scale in prop_oneof![Just(3.0f32), Just(200.0)], seed in 0..1000u64,
    ) {
        gate_case::<f32>(rows, n, scale, seed);
        gate_case::<bf16>(rows, n, scale, seed);
    }

    #[test]
    fn rotations_there_and_back(rows in 0..9usize, heads in 1..6usize, half in 1..40usize, seed in 0..1000u64) {
        rope_case::<f32>(rows, heads, half, seed);
        rope_case::<bf16>(rows, heads, half, seed);
    }

    #[test]
    fn adamw_over_several_steps(a in 0..1500usize, b in 1..9usize, steps in 1..4u64, max_norm in 0.1..4.0f32, seed in 0..1000u64) {
        adamw_case([a, b], steps, max_norm, seed);
    }
}

#[test]
fn weight_gradients_are_summed_over_more_rows_than_there_are_parts() {
    norm_case::<f32>(600, 7, 5);
}

#[test]
fn gradients_of_several_chunks() {
    adamw_case([40_000, 16_384], 1, 1.0, 3);
}

#[test]
fn a_row_beyond_the_rotary_tables_has_no_rotation() {
    for found in on_devices!(|device| {
        let tables = cuda::Rope::new(device, 3, 4, 100.0).unwrap();
        let positions = Array::from_slice(device, &[0, 3]).unwrap();
        let mut x = upload(device, &[1.0f32; 12]);
        cuda::rope(device, &tables, &positions, &mut x, 1, false).unwrap();
        vec![download(device, &x)]
    }) {
        let lost: Vec<bool> = found[0].iter().map(|x| x.is_nan()).collect();
        assert_eq!(lost, [[false; 6], [true, true, true, true, false, false]].concat());
    }
}

#[test]
#[should_panic(expected = "rms_norm shapes")]
fn rows_wider_than_shared_memory_are_refused() {
    let device = &crate::shim(0);
    let h = 8193;
    let x = || blank::<_, f32>(device, h);
    let (mut dx, mut dw, rstd) = (x(), x(), blank(device, 1));
    cuda::rms_norm_backward(device, &x(), &x(), &x(), &rstd, &mut dx, &mut dw).unwrap();
}
