//! Products, rows by index, sums of columns and norms of heads.

use proptest::prelude::*;
use stateset_kernels::cuda::{self, Array, Scatter, Span};
use stateset_kernels::reference;

use crate::{assert_close, blank, download, numbers, on_devices, upload, wide};

/// What tensor cores leave of a factor: 10 bits behind the point.
const TF32: f64 = 1.0 / 1024.0;

fn product_case(m: usize, k: usize, n: usize, seed: u64) {
    let (x, w) = (numbers::<f32>(seed, m * k, 1.0), numbers::<f32>(seed + 1, n * k, 1.0));
    let (dy, held) = (numbers::<f32>(seed + 2, m * n, 1.0), numbers::<f32>(seed + 3, n * k, 1.0));
    let sum = |count: usize, term: &dyn Fn(usize) -> f64| (0..count).map(term).sum::<f64>();
    let at = |values: &[f32], i: usize| f64::from(values[i]);
    let y = |i: usize| sum(k, &|c| at(&x, i / n * k + c) * at(&w, i % n * k + c));
    let dx = |i: usize| sum(n, &|c| at(&dy, i / k * n + c) * at(&w, c * k + i % k));
    let dw = |i: usize| at(&held, i) + sum(m, &|r| at(&dy, r * n + i / k) * at(&x, r * k + i % k));
    for found in on_devices!(|device| {
        let (x, w, dy) = (upload(device, &x), upload(device, &w), upload(device, &dy));
        let (mut y, mut dx) = (blank::<_, f32>(device, m * n), blank::<_, f32>(device, m * k));
        let mut dw = upload(device, &held);
        cuda::linear(device, &x, &w, &mut y, (m, k, n), false).unwrap();
        let once = download(device, &y);
        cuda::linear(device, &x, &w, &mut y, (m, k, n), true).unwrap();
        cuda::linear_input_gradient(device, &dy, &w, &mut dx, (m, k, n)).unwrap();
        cuda::linear_weight_gradient_add(device, &dy, &x, &mut dw, (m, k, n)).unwrap();
        vec![once, download(device, &y), download(device, &dx), download(device, &dw)]
    }) {
        let expected: Vec<f64> = (0..m * n).map(y).collect();
        let twice: Vec<f64> = expected.iter().map(|y| 2.0 * y).collect();
        assert_close(&found[0], &expected, 2.0 * TF32);
        assert_close(&found[1], &twice, 2.0 * TF32);
        assert_close(&found[2], &(0..m * k).map(dx).collect::<Vec<_>>(), 2.0 * TF32);
        assert_close(&found[3], &(0..n * k).map(dw).collect::<Vec<_>>(), 2.0 * TF32);
    }
}

fn rows_case(to: &[u32], rows: usize, width: usize, seed: u64) {
    let (from, held) = (numbers::<f32>(seed, to.len() * width, 1.0), numbers::<f32>(seed + 1, rows * width, 1.0));
    let bias = numbers::<f32>(seed + 2, width, 1.0);
    let mut scattered = wide(&held);
    for (i, target) in to.iter().enumerate() {
        for c in 0..width {
            scattered[*target as usize * width + c] += f64::from(from[i * width + c]);
        }
    }
    let gathered: Vec<f64> =
        to.iter().flat_map(|row| &held[*row as usize * width..][..width]).map(|x| f64::from(*x)).collect();
    let mut columns = wide(&bias);
    from.iter().enumerate().for_each(|(i, x)| columns[i % width] += f64::from(*x));
    let biased: Vec<f64> = from.iter().enumerate().map(|(i, x)| f64::from(*x) + f64::from(bias[i % width])).collect();
    for found in on_devices!(|device| {
        let (from, bias, rows_of) =
            (upload(device, &from), upload(device, &bias), Array::from_slice(device, to).unwrap());
        let mut out = Array::zeros(device, (to.len() + 1) * width).unwrap();
        cuda::gather_rows(device, &upload(device, &held), &rows_of, &mut out, (1, width)).unwrap();
        let (scatter, mut sums) = (Scatter::new(device, to, rows).unwrap(), upload(device, &held));
        cuda::scatter_rows(device, &from, &scatter, &mut sums, width).unwrap();
        let mut columns = bias.copy(device).unwrap();
        cuda::add_columns(device, &from, &mut columns).unwrap();
        let mut biased = from.copy(device).unwrap();
        cuda::add_bias(device, &mut biased, &bias).unwrap();
        let mut twice = from.copy(device).unwrap();
        cuda::add(device, &from, &mut twice).unwrap();
        vec![
            download(device, &out),
            download(device, &sums),
            download(device, &columns),
            download(device, &biased),
            download(device, &twice),
        ]
    }) {
        assert_eq!(found[0][..width], vec![0.0; width], "what lies before the first row is left alone");
        assert_close(&found[0][width..], &gathered, 0.0);
        assert_close(&found[1], &scattered, 1e-6 * to.len() as f64);
        assert_close(&found[2], &columns, 1e-6 * to.len() as f64);
        assert_close(&found[3], &biased, 1e-6);
        assert_close(&found[4], &from.iter().map(|x| 2.0 * f64::from(*x)).collect::<Vec<_>>(), 0.0);
    }
}

fn heads_case(rows: usize, groups: usize, h: usize, seed: u64) {
    const EPS: f32 = 1e-6;
    let (start, width) = (h, (groups + 2) * h);
    let (x, dy) = (numbers::<f32>(seed, rows * width, 2.0), numbers::<f32>(seed + 1, rows * width, 1.0));
    let (w, held) = (numbers::<f32>(seed + 2, h, 2.0), numbers::<f32>(seed + 3, h, 1.0));
    let part = |x: &[f32]| -> Vec<f64> {
        x.chunks_exact(width).flat_map(|row| &row[start..][..groups * h]).map(|x| f64::from(*x)).collect()
    };
    let normed = reference::rms_norm(&part(&x), &wide(&w), f64::from(EPS));
    let (dx, dw) = reference::rms_norm_backward(&part(&dy), &part(&x), &wide(&w), f64::from(EPS));
    let whole = |inside: &[f64], outside: &[f32]| -> Vec<f64> {
        let mut all = wide(outside);
        for (row, inside) in all.chunks_exact_mut(width).zip(inside.chunks_exact(groups * h)) {
            row[start..][..groups * h].copy_from_slice(inside);
        }
        all
    };
    let dw: Vec<f64> = dw.iter().zip(&held).map(|(dw, held)| dw + f64::from(*held)).collect();
    for found in on_devices!(|device| {
        let (heads, w) = (Span { width, start, groups }, upload(device, &w));
        let (x, dy) = (upload(device, &x), upload(device, &dy));
        let (mut y, mut dx, mut dw) = (x.copy(device).unwrap(), dy.copy(device).unwrap(), upload(device, &held));
        cuda::head_norm(device, &x, &w, EPS, heads, &mut y).unwrap();
        cuda::head_norm_backward(device, &dy, &x, &w, EPS, heads, &mut dx, &mut dw).unwrap();
        vec![download(device, &y), download(device, &dx), download(device, &dw)]
    }) {
        assert_close(&found[0], &whole(&normed, &x), 2e-6);
        assert_close(&found[1], &whole(&dx, &dy), 2e-4);
        assert_close(&found[2], &dw, 2e-5);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn products_and_their_gradients(m in 1usize..20, k in 1usize..40, n in 1usize..30, seed in 0u64..1000) {
        product_case(m, k, n, seed);
    }

    #[test]
    fn rows_are_gathered_scattered_and_summed(
        to in proptest::collection::vec(0u32..7, 1..40), width in 1usize..300, seed in 0u64..1000
    ) {
        rows_case(&to, 7, width, seed);
    }

    #[test]
    fn norms_of_heads(rows in 1usize..20, groups in 1usize..5, h in 1usize..140, seed in 0u64..1000) {
        heads_case(rows, groups, h, seed);
    }
}

#[test]
fn sums_over_more_rows_than_there_are_parts() {
    let to: Vec<u32> = (0..700).map(|i| i * i % 5).collect();
    rows_case(&to, 5, 6, 3);
    heads_case(600, 2, 16, 5);
}
