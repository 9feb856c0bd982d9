//! Weights in two bytes: the same results as in four.

use proptest::prelude::*;
use stateset_kernels::cpu::{self, Head, Numbers, Panels, narrowed};

use crate::{assert_close, numbers, reproducible, same_bits, wide};

/// Numbers that bf16 holds exactly.
fn short(seed: u64, n: usize) -> Vec<f32> {
    numbers(seed, n, 1.0).iter().map(|x| f32::from_bits(x.to_bits() & 0xFFFF_0000)).collect()
}

#[test]
fn only_what_loses_nothing_is_narrowed() {
    for kept in [0.0, -0.0, 1.0, -3.5, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        let halves = narrowed(&[kept]).unwrap();
        assert!(same_bits(&Numbers::Bf16(&halves).to_f32(), &[kept]), "{kept}");
    }
    for lost in [0.1, 1.0 + f32::EPSILON, 1e-45, f32::from_bits(0x7FC0_0001)] {
        assert_eq!(narrowed(&[1.0, lost]), None, "{lost}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn products_are_the_same_bits(rows in 1..120usize, k in 1..300usize, n in 1..70usize, seed in 0..1000u64) {
        let (x, w, odd) = (numbers(seed, rows * k, 1.0), short(seed + 1, n * k), vec![0.1; k]);
        // One more output keeps all of them in four bytes.
        let (halves, whole) = (Panels::new(&[&w], k), Panels::new(&[&w, &odd], k));
        // The last panel is filled up, and the last cache line.
        let at_most = |outputs: usize, size: usize| (outputs + 31) * size * k + 63;
        prop_assert!((2 * n * k..=at_most(n, 2)).contains(&halves.bytes()));
        prop_assert!((4 * (n + 1) * k..=at_most(n + 1, 4)).contains(&whole.bytes()));
        let [half, full] = reproducible(|| {
            let (mut half, mut full) = (vec![f32::NAN; rows * n], vec![f32::NAN; rows * (n + 1)]);
            cpu::multiply(&x, &halves, &mut half, false);
            cpu::multiply(&x, &whole, &mut full, false);
            [half, full]
        });
        let full: Vec<f32> = full.chunks_exact(n + 1).flat_map(|row| &row[..n]).copied().collect();
        prop_assert!(same_bits(&half, &full));
        let held = narrowed(&w).unwrap();
        let [again] = reproducible(|| {
            let mut y = vec![f32::NAN; rows * n];
            cpu::multiply(&x, &Panels::new(&[Numbers::Bf16(&held)], k), &mut y, false);
            [y]
        });
        prop_assert!(same_bits(&half, &again));
    }

    #[test]
    fn embeddings_are_the_same_bits(rows in 1..200usize, picks in 0..200usize, width in 1..40usize, seed in 0..1000u64) {
        let table = short(seed, rows * width);
        let ids: Vec<u32> = (0..picks as u32).map(|i| (i * 7 + seed as u32) % rows as u32).collect();
        let (halves, mut found, mut expected) = (narrowed(&table).unwrap(), vec![f32::NAN; picks * width], vec![f32::NAN; picks * width]);
        cpu::embed(Numbers::Bf16(&halves), &ids, &mut found, width);
        cpu::gather_rows(&table, &ids, &mut expected, width);
        prop_assert!(same_bits(&found, &expected));
    }
}

#[test]
fn a_head_widened_in_parts_finds_what_a_whole_one_does() {
    // More than are widened at once, in tiles and kept.
    for (rows, vocab, hidden, keep) in [(9, 5000, 12, true), (9, 5000, 12, false), (2100, 2300, 8, false)] {
        let (states, weight) = (numbers(1, rows * hidden, 1.0), short(2, vocab * hidden));
        let (halves, targets) =
            (narrowed(&weight).unwrap(), (0..rows as u32).map(|i| i * 31 % vocab as u32).collect::<Vec<_>>());
        let upstream = (numbers(3, rows, 1.0), numbers(4, rows, 1.0));
        let found = |weight: Numbers<'_>| {
            reproducible(|| {
                let head =
                    Head { states: &states, weight, targets: &targets, temperature: 0.7, hidden, soft_cap: Some(3.0) };
                let mut logits = vec![f32::NAN; head.room(keep)];
                let found = cpu::linear_log_prob(head, &mut logits);
                let upstream = (upstream.0.as_slice(), upstream.1.as_slice());
                let (mut dx, mut dw) = (vec![f32::NAN; rows * hidden], vec![0.0; vocab * hidden]);
                cpu::linear_log_prob_backward(head, &found, (&mut logits, keep), upstream, &mut dx, Some(&mut dw));
                [found.log_prob, found.entropy, dx, dw]
            })
        };
        for (half, whole) in found(Numbers::Bf16(&halves)).iter().zip(&found(Numbers::from(&weight))) {
            assert_close(half, &wide(whole), 1e-6);
        }
    }
}
